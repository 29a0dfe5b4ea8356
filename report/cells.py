"""The cells of the study: which runs belong into which row of which table."""

IPCS = ('1', '10', '50')
REDUCTION = 'Gradient reduction and levels (DC, 200 iterations)'
STUDY = {'dataset': 'CIFAR10', 'model': 'ConvNet', 'network': 'ConvNet', 'Iteration': '1000'}
PLAIN = {
    'num_cluster': '',
    'layer_idx': '',
    'draw': '',
    'mix': '',
    'norm': '',
    'equal_batch': '',
    'other': '',
}
BS = {'method': 'BS', 'num_cluster': '20', 'layer_idx': '3', 'draw': 'cluster', 'norm': 'True'}
RANDOM = {'method': 'random', 'Iteration': '', 'protocol': 'dc'}
SHORT = {'method': 'DC', 'protocol': 'dc', 'Iteration': '200'}
ITERATIONS = {'random': '', 'herding': '0', 'kcenter': '0', 'kmeans': '0', 'forgetting': '0', 'DM': '20000'}
TABLES = {
    'Table 1: methods': {
        'random real images': RANDOM,
        'DC': {'method': 'DC', 'protocol': 'dc'},
        'DSA': {'method': 'DSA', 'protocol': 'dsa'},
        'BS (k 20, layer 3)': BS,
        'BS stratified (k 20, layer 3)': BS | {'draw': 'stratified'},
        'BS on DSA (k 20, layer 3)': BS | {'method': 'BS-DSA'},
    },
    'Coresets': {
        name: {'method': name, 'Iteration': value, 'protocol': 'dc'}
        for name, value in ITERATIONS.items()
        if value == '0'
    }
    | {
        f'{name} by features of a ConvNet': {
            'method': name,
            'Iteration': '0',
            'protocol': 'dc',
            'other': 'feature_net=ConvNet',
        }
        for name in ('herding', 'kcenter', 'kmeans')
    },
    'Distribution matching and dataset distillation': {
        f'DM ({number} iterations)': {'method': 'DM', 'Iteration': number, 'protocol': 'dsa'}
        for number in ('20000', '1000')
    }
    | {
        'DD (AlexNet)': {'method': 'DD', 'model': 'AlexNet', 'network': 'AlexNet', 'protocol': 'dc'},
    },
    REDUCTION: {'none': SHORT}
    | {
        value: SHORT | {'other': f'{flag}={value}'}
        for flag, value in (
            *(('reduce', name) for name in ('avgpool1', 'avgpool2', 'maxpool1', 'maxpool2')),
            *(('level', name) for name in ('inter', 'both')),
        )
    }
    | {'mask': SHORT | {'other': 'mask_quantile=0.9975 reduce=mask'}},
    'Number of clusters (layer 3)': {f'k {k}': BS | {'num_cluster': str(k)} for k in (5, 10, 15, 20, 25)}
    | {
        f'DC, batches as large as of k {k}': BS
        | {'method': 'DC', 'num_cluster': k, 'equal_batch': 'True', 'protocol': 'dc'}
        for k in ('20', '25')
    },
    'Layer (k 20)': {f'layer {layer}': BS | {'layer_idx': str(layer)} for layer in range(4)},
}


def ipcs_of(title: str) -> tuple[str, ...]:
    """Return the columns of a table."""
    return IPCS[:1] if title == REDUCTION else IPCS


def comparisons() -> dict[str, tuple[dict, dict]]:
    """Return {label: (cell of batch sampling, that of its method on uniform batches)}, each cell once."""
    methods = TABLES['Table 1: methods']
    found = {}
    for title, cells in TABLES.items():
        for label, cell in cells.items():
            if cell['method'].startswith('BS') and cell not in [bs for bs, _ in found.values()]:
                base = 'DSA' if cell['method'] == 'BS-DSA' else 'DC'
                text = label if title.startswith('Table 1') else f'BS ({label})'
                found[f'{text} - {base}'] = cell, methods[base]
    return found


def usual_iterations(method: str) -> str:
    """Return those of the papers."""
    return ITERATIONS.get(method, STUDY['Iteration'])
