"""Passes of a network over images, in chunks, so that memory does not grow with the batch.

Where it pays, passes are compiled, and on a GPU replayed from CUDA graphs: `compile` is False, True
or 'graphs' (replayed, not compiled).

The mean loss is a weighted sum over images, so its gradient is the sum over chunks. All chunks have
one shape: the last is filled up with images of weight 0. `Gradients.of_images` needs no double
backward. With v = ∂D/∂s held fixed, ∂D/∂x = ∇x <∇θ ℓ(x), v>: one directional derivative forward and
one pass back (Pearlmutter, 1994).
"""

import functools
import logging
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jvp

from engine.device import autocast
from engine.graphs import replayed

# Images x height x width of a chunk: 1024 images of 32x32 on a GPU, elsewhere 64.
CHUNK_PIXELS = {'cuda': 2**20}
CHUNK_PIXELS_ELSEWHERE = 2**16


def largest_chunk(net: nn.Module, pixels: int) -> int:
    """Return how many images of so many pixels go through net at once, by its device."""
    most = CHUNK_PIXELS.get(next(net.parameters()).device.type, CHUNK_PIXELS_ELSEWHERE)
    return max(1, most // pixels)


def equal_chunk(num: int, most: int) -> int:
    """Return the size of as few equal chunks of num images as have at most `most` each."""
    return math.ceil(num / math.ceil(num / most))


def loss(
    net: nn.Module, images: torch.Tensor, labels: torch.Tensor, weights, precision: str
) -> torch.Tensor:
    """Return Σ weights (N,) x cross-entropy over images (N, C, H, W); weights None: the mean."""
    with autocast(images.device, precision):
        outputs = net(images)
    # The logarithm of a softmax in bfloat16 would lose the small losses of a trained network.
    losses = F.cross_entropy(outputs.to(images.dtype), labels, reduction='none')
    return losses.mean() if weights is None else losses @ weights


def directional(net, params, direction, images, labels, weights) -> torch.Tensor:
    """Return the derivative of `loss` in fp32 along direction, {name: tensor} like params."""

    # A pure function of the weights: the network itself is not touched.
    def at(values):
        outputs = functional_call(net, values, (images,))
        return F.cross_entropy(outputs, labels, reduction='none')

    # Weighted out here: torch 2.11 crashes on the forward derivative of a compiled product with
    # a constant.
    return jvp(at, (params,), (direction,))[1] @ weights


def predict(net: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the classes (N,) that net gives images (N, C, H, W)."""
    with autocast(images.device, precision):
        return net(images).argmax(1)


def loss_and_right(net: nn.Module, images: torch.Tensor, labels: torch.Tensor, precision: str):
    """Return the mean cross-entropy of images (N, C, H, W), and whether each is right (N,)."""
    with autocast(images.device, precision):
        outputs = net(images)
    return F.cross_entropy(outputs.to(images.dtype), labels), outputs.argmax(1) == labels


def embed(net: nn.Module, images: torch.Tensor, precision: str) -> torch.Tensor:
    """Return the penultimate features (N, D) of images (N, C, H, W)."""
    with autocast(images.device, precision):
        return net.embed(images).to(images.dtype)


@functools.cache
def compiled(function):
    """Return function compiled, one variant a shape."""
    # The compiler warns of a missing GPU.
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)
    torch._dynamo.config.recompile_limit = 64  # a pool of networks x two shapes of batches
    return torch.compile(function, dynamic=False)


def choose(function, compile: bool | str):
    """Return function, compiled if compile is True."""
    return compiled(function) if compile is True else function


def chunks(size: int, equal: bool, *tensors: torch.Tensor):
    """Return tuples of parts of the tensors (N, …), size long.

    equal: the last parts are filled up with zeros.
    """
    # Zeros are harmless: their weight is 0, or their output is cut off.
    missing = -len(tensors[0]) % size if equal else 0
    if missing:
        tensors = [
            torch.cat([tensor, tensor.new_zeros(missing, *tensor.shape[1:])]) for tensor in tensors
        ]
    return zip(*(tensor.split(size) for tensor in tensors), strict=True)


class Gradients:
    """Gradients of the mean cross-entropy of net over images, chunk by chunk.

    num: most images a call; pixels: of an image; compile: see above; chunk: images a pass (None:
    by device and size of an image).
    """

    def __init__(
        self, net: nn.Module, num: int, pixels: int, compile: bool | str, chunk: int | None = None
    ):
        self.size = equal_chunk(num, chunk or largest_chunk(net, pixels))
        self.compile = compile
        leaves = list(net.parameters())
        params = {name: param.detach() for name, param in net.named_parameters()}  # the same memory
        device = leaves[0].device
        mean_loss, along = (choose(f, compile) for f in (loss, directional))

        # One pass for the gradient of the weights.
        def weight_pass(images, labels, weights, precision):
            value = mean_loss(net, images, labels, weights, precision)
            return [*torch.autograd.grad(value, leaves), value.detach()]

        # One pass for the gradient of the images, along a direction of the weights.
        def image_pass(images, labels, weights, *direction):
            direction = dict(zip(params, direction, strict=True))
            images = images.detach().requires_grad_()
            derivative = along(net, params, direction, images, labels, weights)
            return [torch.autograd.grad(derivative, images)[0]]

        # The same for the gradient of the weights, too: that of the steps before this one.
        def both_pass(images, labels, weights, *direction):
            at = {name: param.detach().requires_grad_() for name, param in params.items()}
            direction = dict(zip(params, direction, strict=True))
            images = images.detach().requires_grad_()
            derivative = along(net, at, direction, images, labels, weights)
            *of_weights, of_images = torch.autograd.grad(derivative, [*at.values(), images])
            return [*of_weights, derivative.detach(), of_images]

        # No function knows this object, so a recording goes, with its memory, when it does.
        self.weight_pass, self.image_pass, self.both_pass = (
            replayed(f, compile, device) for f in (weight_pass, image_pass, both_pass)
        )

    def of_weights(
        self, images: torch.Tensor, c, precision: str, weights: torch.Tensor | None = None
    ) -> tuple[list, torch.Tensor]:
        """Return the gradient for every parameter, and the mean loss, of images (N, C, H, W).

        c: their class, or the classes of the images (N,); weights: of their losses (N,), in place
        of the mean.
        """
        # Sums in place of a list: memory does not grow with the number of chunks.
        total = None
        for part in self._chunks(images, c, weights):
            result = self.weight_pass(*part, precision)
            total = result if total is None else torch._foreach_add(total, result)
        return list(total[:-1]), total[-1]

    def of_images(self, images: torch.Tensor, c, direction: list[torch.Tensor]) -> torch.Tensor:
        """Return ∇x <∇θ ℓ(x), direction> (N, C, H, W); direction: one tensor a parameter."""
        # Every image has a gradient of its own, so chunks are put together again.
        parts = [self.image_pass(*part, *direction)[0] for part in self._chunks(images, c)]
        return torch.cat(parts)[: len(images)]

    def of_both(
        self, images: torch.Tensor, c, direction: list[torch.Tensor]
    ) -> tuple[list, torch.Tensor, torch.Tensor]:
        """Return ∇θ <g, direction> (one tensor a parameter), <g, direction>, and as of_images.

        g is the gradient of the weights.
        """
        total, parts = None, []
        for part in self._chunks(images, c):
            *result, of_images = self.both_pass(*part, *direction)
            total = result if total is None else torch._foreach_add(total, result)
            parts.append(of_images)
        return list(total[:-1]), total[-1], torch.cat(parts)[: len(images)]

    def _chunks(self, images, c, weights=None):
        """Yield (images, labels, weights); without given weights those of all chunks sum to 1."""
        labels = c if torch.is_tensor(c) else torch.full((len(images),), c, device=images.device)
        # The mean, unless classes of different size should count alike.
        if weights is None:
            weights = images.new_full((len(images),), 1 / len(images))
        # A compiled pass is made for one shape, so it pays to fill up the last chunk.
        return chunks(self.size, self.compile, images, labels, weights)
