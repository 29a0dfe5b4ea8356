"""Passes of a network over images as pure functions: in chunks, so that memory does not grow with the batch,
and compiled where that pays.

The mean loss is linear in the images, so its gradient is the sum over chunks of equal shape (the last one is
filled up with images of weight 0). `Gradients.of_images` needs no double backward: with v = ∂D/∂s held fixed,
∂D/∂x = ∇x <∇θ ℓ(x), v>, one directional derivative forward and one pass back (Pearlmutter, 1994).
"""

import functools
import logging
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jvp

from device import autocast

CHUNK_PIXELS = {'cuda': 2**20}  # images x height x width of a chunk: 1024 of 32x32; elsewhere 64


def loss(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, weights, precision: str) -> torch.Tensor:
    """Return the sum over images (N, C, H, W) of weights (N,) x cross-entropy; weights None: the mean."""
    with autocast(images.device, precision):
        outputs = net(images)
    losses = F.cross_entropy(outputs.to(images.dtype), labels, reduction='none')
    return losses.mean() if weights is None else losses @ weights


def directional(net, params, direction, images, labels, weights) -> torch.Tensor:
    """Return the derivative of `loss` in fp32 along direction, {name: tensor} like params."""

    def at(values):
        return F.cross_entropy(functional_call(net, values, (images,)), labels, reduction='none') @ weights

    return jvp(at, (params,), (direction,))[1]


def predict(net: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the classes (N,) that net gives images (N, C, H, W)."""
    with autocast(images.device, precision):
        return net(images).argmax(1)


@functools.cache
def compiled(function):
    """Return function compiled, one variant a shape."""
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)  # it warns of a missing GPU
    torch._dynamo.config.recompile_limit = 64  # a pool of networks x two shapes of batches
    return torch.compile(function, dynamic=False)


def choose(function, compile: bool):
    """Return function, compiled if so asked."""
    return compiled(function) if compile else function


class Gradients:
    """Gradients of the mean cross-entropy of net over images of one class, at most num, chunk by chunk.

    compile: use compiled passes; chunk: images a pass (None: by device and size of an image).
    """

    def __init__(self, net: nn.Module, num: int, pixels: int, compile: bool, chunk: int | None = None):
        self.net, self.compile = net, compile
        most = chunk or max(1, CHUNK_PIXELS.get(next(net.parameters()).device.type, 2**16) // pixels)
        self.size = math.ceil(num / math.ceil(num / most))
        self.params = {name: param.detach() for name, param in net.named_parameters()}  # the same memory
        self.loss, self.directional = choose(loss, compile), choose(directional, compile)

    def of_weights(self, images: torch.Tensor, c: int, precision: str) -> list[torch.Tensor]:
        """Return the gradient for every parameter, of images (N, C, H, W) of class c."""
        total, leaves = None, list(self.net.parameters())
        for part in self._chunks(images, c):
            grads = torch.autograd.grad(self.loss(self.net, *part, precision), leaves)
            total = grads if total is None else torch._foreach_add(total, grads)
        return list(total)

    def of_images(self, images: torch.Tensor, c: int, direction: list[torch.Tensor]) -> torch.Tensor:
        """Return ∇x <∇θ ℓ(x), direction> (N, C, H, W), direction being a tensor a parameter."""
        direction, grads = dict(zip(self.params, direction, strict=True)), []
        for part, labels, weights in self._chunks(images, c):
            part = part.detach().requires_grad_()
            along = self.directional(self.net, self.params, direction, part, labels, weights)
            grads.append(torch.autograd.grad(along, part)[0])
        return torch.cat(grads)[: len(images)]

    def _chunks(self, images, c):
        """Yield (images, labels, weights), weights summing to 1; of one shape if the passes are compiled."""
        weights = images.new_full((len(images),), 1 / len(images))
        if self.compile:
            missing = -len(images) % self.size
            images, weights = F.pad(images, (0, 0) * 3 + (0, missing)), F.pad(weights, (0, missing))
        for part, weight in zip(images.split(self.size), weights.split(self.size), strict=True):
            yield part, torch.full((len(part),), c, device=images.device), weight
