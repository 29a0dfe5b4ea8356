"""Train a network on a small set on the device, and test it: no loader, no copy, no wait.

The evaluation schedule follows the papers' code (Zhao et al., ICLR 2021): SGD with momentum 0.9 and
weight decay 5e-4, for E + 1 epochs. After epoch number E // 2 + 1 (counted from 0) the learning
rate falls to a tenth, once, and the momentum starts from 0. IDC's (Kim et al., ICML 2022) has E
epochs; its rate falls to a fifth after two and after two and a half thirds of them.
"""

import torch
from torch import nn

from dataset.data import Data
from engine.gradients import choose, loss, predict
from engine.graphs import replayed
from networks import BATCHNORMS
from storage.kinds import fault, numeric
from utils import Rng


class TrainStep:
    """One step of optimizer on the mean cross-entropy of net over a batch."""

    def __init__(
        self,
        net: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str = 'fp32',
        compile: bool | str = False,
    ):
        device = next(net.parameters()).device
        self.net, self.optimizer, mean_loss = net, optimizer, choose(loss, compile)

        def step(images, labels):
            optimizer.zero_grad()
            mean_loss(net, images, labels, None, precision).backward()
            optimizer.step()
            return []

        def changed():
            states = (value for state in optimizer.state.values() for value in state.values())
            return [*net.parameters(), *net.buffers(), *filter(torch.is_tensor, states)]

        # Neither function knows this object, so a recording goes, with its memory, when it does.
        self.step = replayed(step, compile, device, changed)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take it on images (N, C, H, W) of classes labels (N,)."""
        self.step(images, labels)


def freeze_batchnorm(net: torch.nn.Module, images: torch.Tensor) -> None:
    """Update batch-norm statistics of net with real images, then set only these modules to eval.

    A class of the synthetic set alone is too small a batch for them. The papers' code does the same
    at each outer step.
    """
    net.train()
    with torch.no_grad():
        net(images)
    for module in net.modules():
        if isinstance(module, BATCHNORMS):
            module.eval()


def train_epoch(
    step: TrainStep,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    rng: Rng,
    augmentation=None,
    mix=None,
    num: int | None = None,
) -> None:
    """Train the network of step for one epoch on images (N, C, H, W) and labels (N,), reshuffled.

    augmentation, if any, has draw(num) -> transform; every image of a batch gets its own
    parameters. mix, if any, changes images and labels of a batch (dataset/cutmix.py). num: end the
    epoch after so many images (None: all).
    """
    step.net.train()
    order = torch.randperm(len(images), generator=rng.generator, device=images.device)
    for index in order[:num].split(batch_size):
        batch, of_batch = images[index], labels[index]
        if augmentation is not None:
            batch = augmentation.draw(len(batch))(batch)
        if mix is not None:
            batch, of_batch = mix(batch, of_batch)
        step(batch, of_batch)


def evaluation_optimizer(net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return the optimiser of the evaluation schedule."""
    return torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4)


def train_on_set(
    net: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    rng: Rng,
    augmentation=None,
    precision: str = 'fp32',
    compile: bool | str = False,
) -> None:
    """Train net on a synthetic set by the evaluation schedule of the papers; epochs is its E."""
    step = TrainStep(net, evaluation_optimizer(net, lr), precision, compile)
    for epoch in range(epochs + 1):
        train_epoch(step, images, labels, batch_size, rng, augmentation)
        if epoch == epochs // 2 + 1:
            step = TrainStep(net, evaluation_optimizer(net, lr * 0.1), precision, compile)


def train_in_thirds(
    net: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    lr: float,
    batch_size: int,
    rng: Rng,
    augmentation=None,
    mix=None,
    precision: str = 'fp32',
    compile: bool | str = False,
) -> None:
    """Train net on a synthetic set by the evaluation schedule of IDC; mix: see train_epoch."""
    optimizer = evaluation_optimizer(net, lr)
    step = TrainStep(net, optimizer, precision, compile)
    for epoch in range(epochs):
        # The momentum stays. A recorded step has its rate in it, so it is recorded again.
        falls = [2 * epochs // 3, 5 * epochs // 6].count(epoch) if epoch else 0
        if falls:
            optimizer.param_groups[0]['lr'] *= 0.2**falls
            step = TrainStep(net, optimizer, precision, compile)
        train_epoch(step, images, labels, batch_size, rng, augmentation, mix)


def forget(optimizer: torch.optim.Optimizer) -> None:
    """Forget the momentum of an optimizer: the weights of its network were drawn again."""
    for state in optimizer.state.values():
        if state.get('momentum_buffer') is not None:
            state['momentum_buffer'].zero_()


def load_weights(net: nn.Module, weights: dict) -> None:
    """Load weights {name: tensor} into net; raise ValueError unless they are its own, and finite.

    PyTorch alone would take whole numbers, or numbers that are not finite.
    """
    own = net.state_dict()
    if fault(weights, {str: numeric}) or weights.keys() != own.keys():
        raise ValueError('other weights than the network has')
    for name, value in own.items():
        stored = weights[name]
        if (stored.shape, stored.is_floating_point()) != (value.shape, value.is_floating_point()):
            raise ValueError(f'{name} has another shape or type')
    net.load_state_dict(weights)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict, scheduled: bool = False) -> None:
    """Continue from the state of an optimizer of the same tensors and settings.

    scheduled: a schedule changes the settings. Raises ValueError if the state is another one's.
    """
    groups = zip(optimizer.state_dict()['param_groups'], state['param_groups'], strict=True)
    # Another version of PyTorch may know settings that this one does not.
    if not scheduled and any(other.get(key, own[key]) != own[key] for own, other in groups
                             for key in own):  # fmt: skip
        raise ValueError('an optimizer of other settings')
    optimizer.load_state_dict(state)
    # PyTorch takes over what has another shape, and a step would stretch it.
    momentum = optimizer.param_groups[0].get('momentum', 1)
    for param, of_param in optimizer.state.items():
        for name, value in of_param.items():
            shape = () if name == 'step' else param.shape
            none = value is None and not momentum  # SGD without momentum keeps nothing
            if not none and (not numeric(value) or value.shape != shape):
                raise ValueError(f'{name} does not fit its tensor')


@torch.inference_mode()
def test_accuracy(
    net: nn.Module,
    data: Data,
    precision: str = 'fp32',
    compile: bool | str = False,
    batch_size: int = 500,
) -> float:
    """Return the share in [0, 1] of the test images that net classifies correctly."""
    net.eval()
    classes = choose(predict, compile)
    return share_right(data, lambda images: classes(net, images, precision), batch_size)


def share_right(data: Data, classify, batch_size: int) -> float:
    """Return the share in [0, 1] of the test images that classify(images) -> classes has right."""
    right = torch.zeros((), dtype=torch.int64, device=data.device)
    for pixels, labels in zip(
        data.pixels_test.split(batch_size), data.labels_test.split(batch_size), strict=True
    ):
        right += (classify(data.normalise(pixels)) == labels).sum()
    return right.item() / len(data.labels_test)
