"""The cells of the study: which runs belong into which row of which table.

A cell is {column of the summary: value}; what it does not name is as in STUDY and PLAIN.
"""

from experiment.flags import FLAGS, flags_of_kinds

IPCS = (1, 10, 50)
STUDY = {'dataset': 'CIFAR10', 'model': 'ConvNet', 'network': 'ConvNet', 'Iteration': 1000}
PLAIN = {name: None for name in flags_of_kinds('clusters') if FLAGS[name].column}
PLAIN |= {'draw': 'uniform', 'other': '', 'factor': 1}

METHODS_TABLE, LEVELS = 'Table 1: methods', 'Gradient reduction and levels (DC, 200 iterations)'
TIME = 'Time to accuracy (DC: all classes at once; 16 images a class and step, or as named)'
SMALL = 'Draws of 16 images (DC, all classes at once, 60 iterations, clusters by PCA)'
TEN = 'Ten images per class in minutes (protocol dc)'
SEEDS = 'Batch sampling over seeds (200 iterations)'
TEN_SEEDS = 'Batch sampling over seeds (100 iterations)'
FAST_SEEDS = 'Batch sampling over seeds (--recipe fast)'
TILED = 'IDC on 2 x 2 tiles (protocol idc, 10 steps a network)'
DC, DSA = {'method': 'DC', 'protocol': 'dc'}, {'method': 'DSA', 'protocol': 'dsa'}
CLUSTERS = {'num_cluster': 20, 'layer_idx': 3, 'draw': 'cluster', 'norm': True}
BS, BS_DSA = DC | CLUSTERS, DSA | CLUSTERS
STUDIED = {
    'DC': DC,
    'BS (k 20, layer 3)': BS,
    'BS stratified (k 20, layer 3)': BS | {'draw': 'stratified'},
}
CHOSEN = {'Iteration': None, 'draw': None, 'protocol': 'dc'}  # real images, or means of them
SHORT = DC | {'Iteration': 200}
# The gradient of all classes at once, on small batches.
TOGETHER = DC | {'other': 'batch_real=16 level=inter'}
WHOLE = DC | {'Iteration': 300, 'other': 'batch_real=32 init=centres level=inter'}
TILES = DC | {'Iteration': 160, 'factor': 2, 'other': 'batch_real=16 init=centres level=inter'}
IDC = {'method': 'IDC', 'protocol': 'idc', 'factor': 2}
IDC |= {'other': 'lr_img=0.005 n_data=500 outer_loop=10'}
FEW_REAL = IDC | {'protocol': 'dc'}
FEW_REAL |= {'other': 'batch_real=16 init=centres lr_img=0.005 n_data=128 outer_loop=10'}
DM_TILES = {'method': 'DM', 'protocol': 'dc', 'Iteration': 300, 'factor': 2}
DM_TILES |= {'other': 'batch_real=32 init=representative'}
IDM_FAST = {'method': 'IDM', 'protocol': 'dc', 'Iteration': 500, 'factor': 1}
IDM_FAST |= {
    'other': 'batch_real=32 ce_weight=0.3 init=representative n_data=64 net_every=100 num_nets=4'
}
DC_FAST = {'Iteration': 40}
DC_FAST |= {'other': 'batch_real=32 init=representative inner_loop=3 level=inter momentum_net=0.9'}
# Networks that are left after one step.
UNTRAINED = {'method': 'CAFE', 'protocol': 'dc', 'factor': 2}
ONE_STEP = 'batch_real=32 init={} inner_loop=0 lr_img={} outer_loop=1'
CAFE = UNTRAINED | {'other': ONE_STEP.format('centres', 0.3)}
CAFE_TEN = UNTRAINED | {'Iteration': 400, 'other': ONE_STEP.format('representative', 2.0)}
FIRST_STEPS = {'method': 'BPTT', 'protocol': 'dc', 'other': 'batch_real=16 inner_loop=6'}
NAMED = {'draw': 'stratified', 'norm': False}  # clusters by features of a name
NAMED |= DC | {'Iteration': 60, 'other': 'batch_real=16 feature_net=PCA level=inter'}
FEATURES = {'other': 'feature_net=ConvNet'}
CORESETS = ('random', 'mean', 'herding', 'kcenter', 'kmeans', 'forgetting')
ITERATIONS = {'DM': 20000, 'IDM': 20000, 'IDC': 2000, 'CAFE': 2000} | dict.fromkeys(CORESETS)
# What sets of a method are evaluated by where no protocol is typed: `dc` of all others.
PROTOCOLS = {'DSA': 'dsa', 'DM': 'dsa', 'IDM': 'dsa', 'IDC': 'idc'}

TABLES = {
    METHODS_TABLE: {
        'random real images': CHOSEN | {'method': 'random'},
        'class means': CHOSEN | {'method': 'mean'},
        'DC': DC,
        'DSA': DSA,
        **STUDIED,
        'BS on DSA (k 20, layer 3)': BS_DSA,
    },
    'Coresets': {name: CHOSEN | {'method': name} for name in CORESETS[2:]}
    | {
        f'{name} by features of a ConvNet': CHOSEN | FEATURES | {'method': name}
        for name in ('herding', 'kcenter', 'kmeans')
    },
    'Distribution matching and dataset distillation': {
        f'DM ({number} iterations)': {'method': 'DM', 'Iteration': number, 'protocol': 'dsa'}
        for number in (20000, 1000)
    }
    | {
        'DD (AlexNet)': {'method': 'DD', 'model': 'AlexNet', 'network': 'AlexNet', 'protocol': 'dc'}
    },
    LEVELS: {'none': SHORT}
    | {
        value: SHORT | {'other': f'{flag}={value}'}
        for flag, value in (
            *(('reduce', name) for name in ('avgpool1', 'avgpool2', 'maxpool1', 'maxpool2')),
            *(('level', name) for name in ('inter', 'both')),
            ('reduce', 'mask'),
        )
    },
    TIME: {
        '60 iterations': TOGETHER | {'Iteration': 60},
        '80 iterations': TOGETHER | {'Iteration': 80},
        '300 iterations of 32 images from class means': WHOLE,
        'K-Means centres on 2 x 2 tiles, no step': TILES | {'Iteration': 0},
        '40 iterations on 2 x 2 tiles (--recipe fast)': TILES | {'Iteration': 40},
        '160 iterations on 2 x 2 tiles (--recipe tiles)': TILES,
        'IDC, 1 network x 10 steps': FEW_REAL | {'Iteration': 1},
        'IDC, 7 networks x 10 steps (--recipe fast)': FEW_REAL | {'Iteration': 7},
        'IDC, 40 networks x 10 steps (--recipe tiles)': FEW_REAL | {'Iteration': 40},
        'CAFE, 400 networks x 1 step (--recipe fast)': CAFE | {'Iteration': 400},
        'CAFE, 1000 networks x 1 step (--recipe tiles)': CAFE | {'Iteration': 1000},
        'BPTT (--recipe fast)': FIRST_STEPS | {'Iteration': 100, 'factor': 1},
    },
    TEN: {
        'DC (--recipe fast)': DC | DC_FAST,
        'IDM (--recipe fast)': IDM_FAST,
        'DM on 2 x 2 tiles (--recipe tiles)': DM_TILES,
        'CAFE on 2 x 2 tiles (--recipe tiles)': CAFE_TEN,
    },
    SEEDS: {label: cell | {'Iteration': 200} for label, cell in STUDIED.items()},
    TEN_SEEDS: {label: cell | {'Iteration': 100} for label, cell in STUDIED.items()},
    FAST_SEEDS: {label: cell | DC_FAST for label, cell in STUDIED.items()},
    TILED: {f'{number} networks': IDC | {'Iteration': number} for number in (10, 40)},
    SMALL: {
        'uniform': TOGETHER | {'Iteration': 60},
        'of one of 20 clusters (BS)': NAMED | {'draw': 'cluster', 'num_cluster': 20},
        'one of each of 16 clusters': NAMED | {'num_cluster': 16},
    },
    'Number of clusters (layer 3)': {f'k {k}': BS | {'num_cluster': k} for k in (5, 10, 15, 20, 25)}
    | {
        f'DC, batches as large as of k {k}': BS | {'draw': 'equal', 'num_cluster': k}
        for k in (20, 25)
    },
    'Layer (k 20)': {f'layer {layer}': BS | {'layer_idx': layer} for layer in range(4)},
}


def ipcs_of(title: str) -> tuple[int, ...]:
    """Return the columns of a table."""
    if title in (TEN, TEN_SEEDS, FAST_SEEDS):
        return IPCS[1:2]
    return IPCS[:1] if title in (LEVELS, TIME, SEEDS, TILED, SMALL) else IPCS


def is_clustered(cell: dict) -> bool:
    """Tell whether the batches of a cell are drawn by clusters."""
    return cell.get('draw') not in (None, 'uniform', 'equal')


def comparisons() -> dict[str, tuple[dict, dict]]:
    """Return {label: (cell of batch sampling, its method on uniform batches)}, each cell once."""
    found = {}
    for title, cells in TABLES.items():
        for label, cell in cells.items():
            if title != SMALL and is_clustered(cell) and cell not in [b for b, _ in found.values()]:
                text = label if label in TABLES[METHODS_TABLE] else f'BS ({label})'
                if title == FAST_SEEDS:
                    text += ', --recipe fast'
                elif 'Iteration' in cell:
                    text += f', {cell["Iteration"]} iterations'
                alike = {name: cell[name] for name in ('Iteration', 'other') if name in cell}
                base = TABLES[METHODS_TABLE][cell['method']] | alike
                found[f'{text} - {cell["method"]}'] = cell, base
    return found


def usual_iterations(method: str) -> int | None:
    """Return how many iterations the papers use."""
    return ITERATIONS.get(method, STUDY['Iteration'])
