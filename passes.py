"""Passes of a network over images as pure functions: in chunks, so that memory does not grow with the batch,
and, where that pays, compiled (on the CPU) or replayed from CUDA graphs (on a GPU).

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
from graphs import replayed

CHUNK_PIXELS = {'cuda': 2**20}  # images x height x width of a chunk: 1024 of 32x32; elsewhere 64


def largest_chunk(net: nn.Module, pixels: int) -> int:
    """Return how many images of so many pixels go through net at once, by its device."""
    return max(1, CHUNK_PIXELS.get(next(net.parameters()).device.type, 2**16) // pixels)


def equal_chunk(num: int, most: int) -> int:
    """Return the size of as few chunks of num images as have at most `most` each, of about equal size."""
    return math.ceil(num / math.ceil(num / most))


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


def loss_and_right(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str):
    """Return the mean cross-entropy of images (N, C, H, W), and whether each is classified correctly (N,)."""
    with autocast(images.device, precision):
        outputs = net(images)
    return F.cross_entropy(outputs.to(images.dtype), labels), outputs.argmax(1) == labels


def embed(net: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the penultimate features (N, D) of images (N, C, H, W)."""
    with autocast(images.device, precision):
        return net.embed(images).to(images.dtype)


def projected(net: nn.Module, images: torch.Tensor, directions: torch.Tensor, precision: str) -> torch.Tensor:
    """Return Σ_n <embedding of image n, directions[n]>."""
    return (embed(net, images, precision) * directions).sum()


@functools.cache
def compiled(function):
    """Return function compiled, one variant a shape."""
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)  # it warns of a missing GPU
    torch._dynamo.config.recompile_limit = 64  # a pool of networks x two shapes of batches
    return torch.compile(function, dynamic=False)


def choose(function, compile: bool, device: torch.device):
    """Return function, compiled if so asked and device is a CPU."""
    return compiled(function) if compile and device.type == 'cpu' else function


def chunks(size: int, equal: bool, *tensors: torch.Tensor):
    """Return tuples of parts of the tensors (N, …), size long; equal: the last is filled up with zeros."""
    missing = -len(tensors[0]) % size if equal else 0
    if missing:
        tensors = [torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) for tensor in tensors]
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


class Gradients:
    """Gradients of the mean cross-entropy of net over images of one class, at most num, chunk by chunk.

    compile: use compiled or replayed passes; chunk: images a pass (None: by device and size of an image).
    """

    def __init__(self, net: nn.Module, num: int, pixels: int, compile: bool, chunk: int | None = None):
        self.compile = compile
        self.size = equal_chunk(num, chunk or largest_chunk(net, pixels))
        leaves = list(net.parameters())
        params = {name: param.detach() for name, param in net.named_parameters()}  # the same memory
        device = leaves[0].device
        mean_loss, along = (choose(f, compile, device) for f in (loss, directional))

        def weight_pass(images, labels, weights, precision):
            value = mean_loss(net, images, labels, weights, precision)
            return [*torch.autograd.grad(value, leaves), value.detach()]

        def image_pass(images, labels, weights, *direction):
            direction, images = dict(zip(params, direction, strict=True)), images.detach().requires_grad_()
            return [torch.autograd.grad(along(net, params, direction, images, labels, weights), images)[0]]

        # Neither function knows this object, so a recording goes, with its memory, when this object does.
        self.weight_pass, self.image_pass = (replayed(f, compile, device) for f in (weight_pass, image_pass))

    def of_weights(self, images: torch.Tensor, c, precision: str) -> tuple[list, torch.Tensor]:
        """Return the gradient for every parameter, and the mean loss, of images (N, C, H, W) of class c.

        c: one class, or those of the images (N,).
        """
        total = None
        for part in self._chunks(images, c):
            result = self.weight_pass(*part, precision)
            total = result if total is None else torch._foreach_add(total, result)
        return list(total[:-1]), total[-1]

    def of_images(self, images: torch.Tensor, c: int, direction: list[torch.Tensor]) -> torch.Tensor:
        """Return ∇x <∇θ ℓ(x), direction> (N, C, H, W), direction being a tensor a parameter."""
        parts = [self.image_pass(*part, *direction)[0] for part in self._chunks(images, c)]
        return torch.cat(parts)[: len(images)]

    def _chunks(self, images, c):
        """Yield (images, labels, weights), weights summing to 1."""
        labels = c if torch.is_tensor(c) else torch.full((len(images),), c, device=images.device)
        weights = images.new_full((len(images),), 1 / len(images))
        return chunks(self.size, self.compile, images, labels, weights)


class Embeddings:
    """Mean embeddings by net of images of several classes, and their gradients for the images, in chunks.

    shape: (C, H, W) of an image; whole: no chunks, since what net does to an image depends on the others.
    """

    def __init__(
        self, net: nn.Module, shape: tuple[int, int, int], precision: str, compile: bool, whole: bool
    ):
        self.size = None if whole else largest_chunk(net, shape[1] * shape[2])
        device, self.compile = next(net.parameters()).device, compile and not whole
        features, along = (choose(f, self.compile, device) for f in (embed, projected))

        def feature_pass(images):
            with torch.no_grad():
                return [features(net, images, precision)]

        def image_pass(images, directions):
            images = images.detach().requires_grad_()
            return [torch.autograd.grad(along(net, images, directions, precision), images)[0]]

        self.feature_pass, self.image_pass = (
            replayed(f, self.compile, device) for f in (feature_pass, image_pass)
        )

    def means(self, images: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return the mean embedding (K, D) of the images (N, C, H, W) of each class."""
        features = torch.cat([self.feature_pass(part)[0] for (part,) in self._chunks(images)])[: len(images)]
        sums, counts = (features.new_zeros(num_classes, size) for size in (features.shape[1], 1))
        sums.index_add_(0, labels, features)
        return sums / counts.index_add_(0, labels, features.new_ones(len(images), 1))

    def of_images(self, images: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """Return ∇x Σ_n <embedding of image n, directions[n]> (N, C, H, W), directions (N, D)."""
        parts = [self.image_pass(*part)[0] for part in self._chunks(images, directions)]
        return torch.cat(parts)[: len(images)]

    def _chunks(self, *tensors):
        num = len(tensors[0])
        return chunks(equal_chunk(num, self.size or num), self.compile, *tensors)
