"""Train a network on a small set that lies on the device, and measure its accuracy: no loader, no copy, no
wait.

The evaluation schedule is that of the papers' code (Zhao et al., ICLR 2021): SGD, momentum 0.9, weight decay
5e-4, E + 1 epochs, learning rate x 0.1 once after epoch number E // 2 + 1 (counted from 0), where the
momentum starts anew.
"""

import torch
from torch import nn

from data import Data
from device import Rng
from graphs import replayed
from passes import choose, loss, predict


class TrainStep:
    """One step of optimizer on the mean cross-entropy of net over a batch."""

    def __init__(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, precision: str = 'fp32', compile: bool = False
    ):
        device = next(net.parameters()).device
        self.net, self.optimizer, mean_loss = net, optimizer, choose(loss, compile, device)

        def step(images, labels):
            optimizer.zero_grad()
            mean_loss(net, images, labels, None, precision).backward()
            optimizer.step()
            return []

        def changed():
            states = (value for state in optimizer.state.values() for value in state.values())
            return [*net.parameters(), *net.buffers(), *filter(torch.is_tensor, states)]

        # Neither function knows this object, so a recording goes, with its memory, when this object does.
        self.step = replayed(step, compile, device, changed)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Take it on images (N, C, H, W) of classes labels (N,)."""
        self.step(images, labels)


def train_epoch(
    step: TrainStep,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch_size: int,
    rng: Rng,
    augmentation=None,
) -> None:
    """Train the network of step for one epoch on images (N, C, H, W) and labels (N,), in a new order, in
    batches of batch_size.

    augmentation, if any, has draw(num) -> transform, and every image of a batch gets parameters of its own.
    """
    step.net.train()
    order = torch.randperm(len(images), generator=rng.device, device=images.device)
    for index in order.split(batch_size):
        batch = images[index]
        if augmentation is not None:
            batch = augmentation.draw(len(batch))(batch)
        step(batch, labels[index])


def judge_optimizer(net: nn.Module, lr: float) -> torch.optim.Optimizer:
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
    compile: bool = False,
) -> None:
    """Train net on a synthetic set by the evaluation schedule of the papers (see above); epochs is its E."""
    step = TrainStep(net, judge_optimizer(net, lr), precision, compile)
    for epoch in range(epochs + 1):
        train_epoch(step, images, labels, batch_size, rng, augmentation)
        if epoch == epochs // 2 + 1:
            step = TrainStep(net, judge_optimizer(net, lr * 0.1), precision, compile)


@torch.inference_mode()
def test_accuracy(
    net: nn.Module, data: Data, precision: str = 'fp32', compile: bool = False, batch_size: int = 500
) -> float:
    """Return the share in [0, 1] of the test images that net classifies correctly."""
    net.eval()
    correct = torch.zeros((), dtype=torch.int64, device=data.device)
    classes = choose(predict, compile, data.device)
    for pixels, labels in zip(
        data.pixels_test.split(batch_size), data.labels_test.split(batch_size), strict=True
    ):
        correct += (classes(net, data.normalise(pixels), precision) == labels).sum()
    return correct.item() / len(data.labels_test)
