"""The protocol by which a set is evaluated: it decides the number, so it has a name in every table.

`dc` trains without augmentation for 300 epochs. On MNIST, and with ConvNetBN, it augments as DC's
authors do, for 1000 epochs. `dsa` trains with the DSA strategy for 1000 epochs. Cui et al.
(DC-BENCH, NeurIPS 2022) tell how far this moves a number. The accuracy is taken after the last
epoch: docs/protocol.md.
"""

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


def protocol(model: str, dataset: str, strategy: str, epochs: int | None) -> dict:
    """Return how a network is trained: the name of the protocol, its augmentation, its epochs.

    strategy: the DSA strategy, or 'None' for DC's protocol; epochs: None for the protocol's own.
    """
    name = 'dc' if strategy == 'None' else 'dsa'
    strategy = strategy if name == 'dsa' else dc_strategy(dataset, model)
    return {
        'protocol': name,
        'augmentation': strategy,
        'epochs': epochs or (300 if strategy == 'None' else 1000),
    }


def strategy_of(args: dict) -> str:
    """Return the DSA strategy with which a run's sets are evaluated: --protocol's, or its own."""
    own, asked = args.get('dsa_strategy') or 'None', args.get('protocol')
    if asked == 'dc':
        return 'None'
    return dsa_strategy(args['dataset']) if asked == 'dsa' and own == 'None' else own
