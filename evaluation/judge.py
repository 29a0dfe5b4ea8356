"""Judge a synthetic set: train fresh networks on it alone and test them on real images.

The protocol decides the number (Cui et al., DC-BENCH, NeurIPS 2022), so it has a name here and in every
table: `dc` trains without augmentation, 300 epochs (MNIST and ConvNetBN: with DC's own augmentation, 1000
epochs); `dsa` trains with the DSA strategy, 1000 epochs. Accuracy is that of the last epoch. Schedule:
training.py.
"""

from collections.abc import Iterator

import torch

from augment import DC, DSA, dc_strategy
from data import Data
from device import Rng
from errors import UserError
from networks import make_network
from training import test_accuracy, train_on_set

POOLS = {
    'M': ('MLP', 'ConvNet', 'LeNet', 'AlexNet', 'VGG11', 'ResNet18'),
    'B': ('ConvNetBN', 'ConvNetASwishBN', 'AlexNetBN', 'VGG11BN', 'ResNet18BN'),
    'W': ('ConvNetW32', 'ConvNetW64', 'ConvNetW128', 'ConvNetW256'),
    'D': ('ConvNetD1', 'ConvNetD2', 'ConvNetD3', 'ConvNetD4'),
    'A': ('ConvNetAS', 'ConvNetAR', 'ConvNetAL', 'ConvNetASwish'),
    'P': ('ConvNetNP', 'ConvNetMP', 'ConvNetAP'),
    'N': ('ConvNetNN', 'ConvNetBN', 'ConvNetLN', 'ConvNetIN', 'ConvNetGN'),
}


def eval_pool(eval_mode: str, model: str) -> tuple[str, ...]:
    """Return the networks that judge a set condensed with `model`; in mode S batch norm becomes instance
    norm."""
    if eval_mode == 'S':
        return (model.replace('BN', ''),)
    return POOLS.get(eval_mode, (model,))


def check_pool(pool: tuple[str, ...], data: Data, ipc: int, batch_train: int) -> None:
    """Raise UserError if a network of the pool cannot be trained on these images in the batches of a set with
    ipc images per class: before hours of work, not after."""
    last = data.num_classes * ipc % batch_train or batch_train
    for model in pool:
        net = make_network(model, data.shape[0], data.num_classes, data.shape[1:])
        of_batch = any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
        try:  # norms have no statistics of a single value
            net(torch.zeros(min(last, 2) if of_batch else 1, *data.shape))
        except ValueError as error:
            raise UserError(
                f'{model} cannot be trained on images of {data.shape[1]}x{data.shape[2]} pixels with a last '
                f'batch of {last} ({error}); use another network, --im_size or --batch_train'
            ) from error


def protocol(model: str, dataset: str, strategy: str, epochs: int | None) -> dict:
    """Return how a network is trained: the name of the protocol, its augmentation, its epochs.

    strategy: the DSA strategy, or 'None' for DC's protocol; epochs: as typed, or None for the protocol's own.
    """
    name = 'dc' if strategy == 'None' else 'dsa'
    strategy = strategy if name == 'dsa' else dc_strategy(dataset, model)
    return {
        'protocol': name,
        'augmentation': strategy,
        'epochs': epochs or (300 if strategy == 'None' else 1000),
    }


def judge_network(
    images: torch.Tensor,
    labels: torch.Tensor,
    data: Data,
    model: str,
    rng: Rng,
    *,
    strategy: str,
    epochs: int | None,
    lr_net: float,
    batch_train: int,
    precision: str,
    compile: bool = False,
) -> float:
    """Train one fresh network on images (N, C, H, W) and labels (N,); return its test accuracy in [0, 1]."""
    how = protocol(model, data.name, strategy, epochs)
    net = make_network(model, data.shape[0], data.num_classes, data.shape[1:], rng.device)
    augmentation = (DSA if how['protocol'] == 'dsa' else DC)(how['augmentation'], data.shape, rng)
    train_on_set(
        net,
        images,
        labels,
        epochs=how['epochs'],
        lr=lr_net,
        batch_size=batch_train,
        rng=rng,
        augmentation=augmentation if how['augmentation'] != 'None' else None,
        precision=precision,
        compile=compile,
    )
    return test_accuracy(net, data, precision, compile)


def networks_left(
    pool: tuple[str, ...], num_eval: int, accs: dict[str, list[float]]
) -> Iterator[tuple[str, int]]:
    """Yield (model, number) of each network that accs, {model: accuracies so far}, does not hold yet."""
    for model in pool:
        for number in range(len(accs.get(model, ())), num_eval):
            yield model, number
