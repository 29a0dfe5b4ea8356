"""Mean embeddings of images by class, and the gradients of images for them (DM, IDM)."""

import torch
import torch.nn.functional as F
from torch import nn

from engine.device import autocast
from engine.gradients import choose, chunks, embed, equal_chunk, largest_chunk
from engine.graphs import replayed
from networks import Network
from processes import ranks


def projected(net: nn.Module, images: torch.Tensor, directions: torch.Tensor, precision: str):
    """Return Σ_n <embedding of image n, directions[n]>."""
    return (embed(net, images, precision) * directions).sum()


def projected_and_told_apart(net, images, directions, labels, weights, precision) -> torch.Tensor:
    """Return `projected` + Σ_n weights[n] x cross-entropy of image n for labels (N,)."""
    with autocast(images.device, precision):
        features = net.embed(images)
        # A network of the user's own may end in other layers than one.
        logits = net.classifier(features) if isinstance(net, Network) else net(images)
    losses = F.cross_entropy(logits.to(images.dtype), labels, reduction='none')
    return (features.to(images.dtype) * directions).sum() + losses @ weights


class Embeddings:
    """Mean embeddings by net of images of several classes, and their gradients, in chunks.

    shape: (C, H, W) of an image; whole: no chunks, for a network that mixes images (batch norm).
    """

    def __init__(
        self,
        net: nn.Module,
        shape: tuple[int, int, int],
        precision: str,
        compile: bool | str,
        whole: bool,
    ):
        self.size = None if whole else largest_chunk(net, shape[1] * shape[2])
        self.net = net
        device, self.compile = next(net.parameters()).device, False if whole else compile
        features, along, guided = (
            choose(f, self.compile) for f in (embed, projected, projected_and_told_apart)
        )

        # The features of real images need no graph.
        def feature_pass(images):
            with torch.no_grad():
                return [features(net, images, precision)]

        # The gradient of the images, when the derivative for their embedding is known.
        def image_pass(images, directions):
            images = images.detach().requires_grad_()
            return [torch.autograd.grad(along(net, images, directions, precision), images)[0]]

        # The same, with the gradient of a cross-entropy.
        def guided_pass(images, directions, labels, weights):
            images = images.detach().requires_grad_()
            value = guided(net, images, directions, labels, weights, precision)
            return [torch.autograd.grad(value, images)[0]]

        self.feature_pass, self.image_pass, self.guided_pass = (
            replayed(f, self.compile, device) for f in (feature_pass, image_pass, guided_pass)
        )

    def means(self, images: torch.Tensor, labels: torch.Tensor, num_classes: int) -> torch.Tensor:
        """Return the mean embedding (K, D) of the images (N, C, H, W) of each class."""
        features = self._shared(self.feature_pass, (self.net.embed_size,), images)
        # Sum and count by class: one pass, however many classes there are.
        sums, counts = (features.new_zeros(num_classes, size) for size in (features.shape[1], 1))
        sums.index_add_(0, labels, features)
        return sums / counts.index_add_(0, labels, features.new_ones(len(images), 1))

    def of_images(self, images: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        """Return ∇x Σ_n <embedding of image n, directions[n]> (N, C, H, W), directions (N, D)."""
        return self._shared(self.image_pass, images.shape[1:], images, directions)

    def of_images_told_apart(
        self,
        images: torch.Tensor,
        directions: torch.Tensor,
        labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Return the same with Σ_n weights[n] x cross-entropy of image n added to the sum."""
        tensors = images, directions, labels, weights
        return self._shared(self.guided_pass, images.shape[1:], *tensors)

    def _shared(self, passed, shape, *tensors):
        """Return what a pass makes of each of the tensors' rows (N, *shape); ranks share chunks."""
        # Without chunks all images are one: batch norm looks at the others.
        num = len(tensors[0])
        size = equal_chunk(num, self.size or num)
        result = tensors[0].new_zeros(num, *shape)
        for number, part in enumerate(chunks(size, self.compile, *tensors)):
            if ranks.owns(number):
                own = result[number * size : (number + 1) * size]
                own.copy_(passed(*part)[0][: len(own)])  # without the zeros of the last chunk
        ranks.add_up(result)
        return result
