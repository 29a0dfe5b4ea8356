"""The protocol by which a set is evaluated: it decides the number, so it has a name in every table.

`dc` trains without augmentation for 300 epochs. On MNIST, and with ConvNetBN, it augments as DC's
authors do, for 1000 epochs. `dsa` trains with the DSA strategy for 1000 epochs. `idc` (Kim et al.,
ICML 2022) trains for 1000 epochs in small batches, flips and colours each, adds one of the other
operations but cutout, and mixes half of them by CutMix. Cui et al. (DC-BENCH, NeurIPS 2022) tell
how far this moves a number. The accuracy is taken after the last epoch: docs/protocol.md.
"""

from dataset.augment import DC, DSA, Augmentation
from dataset.composed import Composed
from dataset.data import Data
from dataset.readers import DATASETS, dsa_strategy
from engine.trial import check_network, last_batch
from networks import NETWORKS

POOLS = {
    'M': ('MLP', 'ConvNet', 'LeNet', 'AlexNet', 'VGG11', 'ResNet18'),
    'B': ('ConvNetBN', 'ConvNetASwishBN', 'AlexNetBN', 'VGG11BN', 'ResNet18BN'),
    'W': ('ConvNetW32', 'ConvNetW64', 'ConvNetW128', 'ConvNetW256'),
    'D': ('ConvNetD1', 'ConvNetD2', 'ConvNetD3', 'ConvNetD4'),
    'A': ('ConvNetAS', 'ConvNetAR', 'ConvNetAL', 'ConvNetASwish'),
    'P': ('ConvNetNP', 'ConvNetMP', 'ConvNetAP'),
    'N': ('ConvNetNN', 'ConvNetBN', 'ConvNetLN', 'ConvNetIN', 'ConvNetGN'),
}
# The networks for which DC's authors augment, whatever the data set.
DC_AUGMENTATION = {'ConvNetBN': 'crop_noise'}
IDC_BATCH = 64
IDC_ONE_OF = 'crop', 'scale', 'rotate'  # of these a batch has one


def eval_pool(eval_mode: str, model: str) -> tuple[str, ...]:
    """Return the evaluation networks; in mode S batch norm becomes instance norm."""
    if eval_mode == 'S':
        plain = model.replace('BN', '')
        return (plain if plain in NETWORKS else model,)  # a user's own has no other norm
    return POOLS.get(eval_mode, (model,))


def check_pool(pool: tuple[str, ...], data: Data, num: int, batch_train: int) -> None:
    """Raise UserError if a network of the pool cannot be trained on num of these images."""
    for model in pool:
        check_network(model, data, last_batch(num, batch_train), 'evaluation')


def dc_strategy(dataset: str, model: str) -> str:
    """Return how DC's authors augment to train `model` on a set made from `dataset`."""
    source = DATASETS.get(dataset)
    return DC_AUGMENTATION.get(model) or (source.dc_augmentation if source else 'None')


def protocol(
    model: str, dataset: str, strategy: str, epochs: int | None, name: str | None = None
) -> dict:
    """Return how a network is trained: the name of the protocol, its augmentation, its epochs.

    strategy: as strategy_of gives it; epochs: None for the protocol's own; name: of the protocol
    (None: dc or dsa, by the strategy).
    """
    name = name or ('dc' if strategy == 'None' else 'dsa')
    strategy = dc_strategy(dataset, model) if name == 'dc' else strategy
    return {
        'protocol': name,
        'augmentation': strategy,
        'epochs': epochs or (300 if strategy == 'None' else 1000),
    }


def protocol_of(args: dict) -> str:
    """Return the name of the protocol by which a run's sets are evaluated."""
    plain = args.get('dsa_strategy') in (None, 'None')
    return args.get('protocol') or ('dc' if plain else 'dsa')


def strategy_of(args: dict) -> str:
    """Return the operations with which a run's sets are evaluated: --protocol's, or its own."""
    own, name = args.get('dsa_strategy') or 'None', protocol_of(args)
    if name == 'dc':
        return 'None'
    if name == 'idc':
        return dsa_strategy(args['dataset']).replace('cutout_', '')
    return dsa_strategy(args['dataset']) if own == 'None' else own


def augmentation_of(how: dict, shape: tuple[int, int, int], rng) -> Augmentation | None:
    """Return the augmentation of a protocol, as protocol() gives it, None if it has none."""
    if how['augmentation'] == 'None':
        return None
    if how['protocol'] == 'idc':
        return Composed(how['augmentation'], shape, rng, IDC_ONE_OF)
    return {'dc': DC, 'dsa': DSA}[how['protocol']](how['augmentation'], shape, rng)


def batch_of(args: dict) -> int:
    """Return the batch size of the evaluation networks of a run."""
    return IDC_BATCH if protocol_of(args) == 'idc' else args['batch_train']
