"""Means over classes of what a network computes on the way, layer by layer, in chunks.

A tap is what an activation, or a block of layers, puts out. The last tap is the embedding. Images
pass in groups of whole classes, which ranks share, so that every rank count gives the same sums.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn

from engine.device import autocast
from engine.gradients import choose, chunks, equal_chunk, largest_chunk
from engine.graphs import replayed
from networks import Network
from processes import ranks
from utils import UserError

Batch = Callable[[int], torch.Tensor]
ACTIVATIONS = nn.ReLU, nn.LeakyReLU, nn.Sigmoid, nn.SiLU, nn.Tanh, nn.GELU, nn.ELU


def is_tapped(module: nn.Module) -> bool:
    """Tell whether the output of a layer is a tap: of an activation, or of a block of layers."""
    return isinstance(module, ACTIVATIONS) or any(True for _ in module.children())


def check_taps(net: nn.Module, what: str) -> None:
    """Raise UserError unless net is a sequence of layers with an activation or a block in it."""
    layers = net.features if isinstance(net, Network) else None
    if not isinstance(layers, nn.Sequential) or not any(map(is_tapped, layers)):
        raise UserError(
            f'{what} compares what layers put out, so it needs a network with a sequence of layers '
            'and activations: Network(nn.Sequential(…), …) of networks.py; the known ones all are'
        )


def taps(net: Network, images: torch.Tensor, precision: str) -> list[torch.Tensor]:
    """Return the taps (N, …) of images (N, C, H, W) flattened, the embedding (N, D) last."""
    outputs, found = images, []
    with autocast(images.device, precision):
        for layer in net.features:
            outputs = layer(outputs)
            if is_tapped(layer):
                found.append(outputs)
    return [tap.flatten(1).to(images.dtype) for tap in (*found, outputs)]


def weighted_taps(net: Network, images: torch.Tensor, weights: torch.Tensor, precision: str):
    """Return weights.T (C, N) @ each tap (N, D), and the embedding (N, D); weights: (N, C)."""
    found = taps(net, images, precision)
    return [weights.T @ tap for tap in found], found[-1]


class ClassTaps:
    """Taps of net, their means over each class, and the gradients of images for these means.

    shape: (C, H, W) of an image; num: most images of a class; precision, compile: see gradients.py.
    Images are asked for as batch(c), the images (n, C, H, W) of class c, with counts, n of every
    class, so that a rank only makes those of its classes.
    """

    def __init__(
        self, net: Network, shape: tuple[int, int, int], num: int, precision: str,
        compile: bool | str,
    ):  # fmt: skip
        most, self.device = largest_chunk(net, shape[1] * shape[2]), next(net.parameters()).device
        self.together, self.compile, self.shape = max(1, most // num), compile, shape
        self.size = equal_chunk(num * self.together, most)
        with torch.no_grad():
            tried = taps(net, torch.zeros(2, *shape, device=self.device), 'fp32')
        self.sizes, weighted = [tap.shape[1] for tap in tried], choose(weighted_taps, compile)

        # Means of images that need no graph, and every embedding.
        def mean_pass(images, weights):
            with torch.no_grad():
                means, features = weighted(net, images, weights, precision)
            return [*means, features]

        # The gradient of the images, when the derivative for the means is known.
        def image_pass(images, weights, *directions):
            images = images.detach().requires_grad_()
            means, _ = weighted(net, images, weights, precision)
            value = sum((a * b).sum() for a, b in zip(means, directions, strict=True))
            return [torch.autograd.grad(value, images)[0]]

        self.mean_pass, self.image_pass = (
            replayed(f, compile, self.device) for f in (mean_pass, image_pass)
        )

    def means(self, batch: Batch, counts: list[int]) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Return the mean (K, D) of every tap over each class, and the embeddings (N, D)."""
        means = [torch.zeros(len(counts), size, device=self.device) for size in self.sizes]
        features = torch.zeros(sum(counts), self.sizes[-1], device=self.device)
        for classes, rows, images, weights in self._groups(batch, counts):
            parts = []
            for part in chunks(self.size, self.compile, images, weights):
                *sums, found = self.mean_pass(*part)
                for mean, own in zip(means, sums, strict=True):
                    mean[classes] += own[: len(mean[classes])]
                parts.append(found)
            features[rows] = torch.cat(parts)[: len(images)]
        ranks.add_up(*means, features)
        return means, features

    def of_images(
        self, batch: Batch, counts: list[int], directions: list[torch.Tensor]
    ) -> torch.Tensor:
        """Return the gradient (N, C, H, W) of Σ <mean, direction> over taps, directions (K, D)."""
        grads = torch.zeros(sum(counts), *self.shape, device=self.device)
        for classes, rows, images, weights in self._groups(batch, counts):
            missing = self.together - len(directions[0][classes])
            own = [F.pad(along[classes], (0, 0, 0, missing)) for along in directions]
            parts = [
                self.image_pass(*part, *own)[0]
                for part in chunks(self.size, self.compile, images, weights)
            ]
            grads[rows] = torch.cat(parts)[: len(images)]
        ranks.add_up(grads)
        return grads

    def _groups(self, batch, counts) -> Iterator[tuple]:
        """Yield classes, rows, images (N, C, H, W) and weights (N, C) of this rank's groups.

        The weights of a class are 1 / n; of a smaller last group some columns are 0.
        """
        for number, first in enumerate(range(0, len(counts), self.together)):
            if not ranks.owns(number):
                continue
            own = counts[first : first + self.together]
            start, num = sum(counts[:first]), torch.tensor(own, device=self.device)
            column = torch.arange(len(own), device=self.device).repeat_interleave(num)
            weights = F.one_hot(column, self.together) / num[column, None]
            images = torch.cat([batch(c) for c in range(first, first + len(own))])
            yield slice(first, first + len(own)), slice(start, start + sum(own)), images, weights
