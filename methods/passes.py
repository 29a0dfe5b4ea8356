"""The passes of a matching step: over the images of one class, or of all classes at once.

All classes together cost as much as one after the other, in fewer and larger passes. Real images go
through the network by as many classes as fit into a chunk, so memory does not grow with classes.
"""

from typing import NamedTuple

import torch
from torch.nn.utils import parameters_to_vector

from dataset.data import Data
from engine.gradients import Gradients, largest_chunk
from engine.training import freeze_batchnorm
from methods.sampling import UniformSampler
from networks import has_batchnorm
from processes import ranks
from utils import Rng

BATCHNORM_IMAGES = 16  # real images per class for its statistics


def freeze_statistics(net, data: Data, rng: Rng) -> None:
    """Give batch norm, if net has any, statistics of real images of all classes."""
    if has_batchnorm(net):
        uniform = UniformSampler(data)
        draws = [uniform.draw(c, BATCHNORM_IMAGES, rng) for c in range(data.num_classes)]
        freeze_batchnorm(net, data.images(torch.cat(draws)))


class PassGradients(NamedTuple):
    """What a matching step knows of the classes of a pass before their images move."""

    passes: 'Passes'
    rows: slice  # of the stored images
    image_syn: torch.Tensor  # (I', C, H, W), stored
    seen: torch.Tensor  # (I' f², C, H, W), decoded and augmented
    labels: torch.Tensor  # (I' f²,)
    grads_real: list[torch.Tensor]  # one a parameter: the mean over the classes of the pass
    grads_syn: list[torch.Tensor]


class Passes:
    """Gradients of net over real and synthetic images of num_classes classes, which count alike.

    batch_real, num_syn: images of a class; precision: of the passes over real images.
    """

    def __init__(
        self, net, data: Data, num_classes: int, batch_real: int, num_syn: int, precision: str,
        compile: bool | str,
    ):  # fmt: skip
        self.data, self.precision, self.net = data, precision, net
        pixels = data.shape[1] * data.shape[2]
        self.together = min(num_classes, max(1, largest_chunk(net, pixels) // batch_real))
        self.real = Gradients(net, batch_real * self.together, pixels, compile)
        self.syn = Gradients(net, num_syn * num_classes, pixels, compile)

    def of_real(self, draws: list) -> list[torch.Tensor]:
        """Return the mean of the gradients of the classes, each drawn as (index, transform).

        Ranks share the classes of a pass, if it has several.
        """
        groups = [draws[at : at + self.together] for at in range(0, len(draws), self.together)]

        def of_group(number):
            group = groups[number]
            batches = [transform(self.data.images(index)) for index, transform in group]
            labels = self.data.labels_train[torch.cat([index for index, _ in group])]
            # Classes count alike, whatever the number of their images.
            weights = torch.cat(
                [batch.new_full((len(batch),), 1 / len(batch)) for batch in batches]
            )
            return self.real.of_weights(
                torch.cat(batches), labels, self.precision, weights / len(draws)
            )[0]

        # In the order of the classes: the same sum, to the bit, however many ranks there are.
        if len(draws) > 1 and ranks.size() > 1:
            parts = self._shared(of_group, len(groups))
        else:
            parts = map(of_group, range(len(groups)))  # one after the other: memory stays flat
        total = None
        for grads in parts:
            total = torch._foreach_add(total, grads) if total else grads
        return list(total)

    def of_both(self, rows, image_syn, images, labels, draws: list) -> PassGradients:
        """Return the gradients of both sides; images, labels: what image_syn is decoded to."""
        grads_real, parts = self.of_real(draws), images.chunk(len(draws))
        seen = torch.cat([change(part) for (_, change), part in zip(draws, parts, strict=True)])
        grads_syn = self.of_syn(seen.detach(), labels)
        return PassGradients(self, rows, image_syn, seen, labels, grads_real, grads_syn)

    def of_syn(self, images: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
        """Return the gradient of synthetic images (N, C, H, W), as many of every class."""
        # Never in bf16: its change moves the images. (On a GPU in TF32, unless precision is fp32.)
        return self.syn.of_weights(images, labels, 'fp32')[0]

    def to_images(self, gradients: PassGradients, direction) -> torch.Tensor:
        """Return the gradient for stored images whose weight gradient should follow direction."""
        image_grad = self.syn.of_images(gradients.seen.detach(), gradients.labels, direction)
        # Back through augmentation and decoding, from what the network saw to what is stored.
        return torch.autograd.grad(gradients.seen, gradients.image_syn, image_grad)[0]

    def _shared(self, function, num: int) -> list[list[torch.Tensor]]:
        """Return function(i) for i < num, a gradient each, computed by the rank that owns i."""
        params = list(self.net.parameters())
        flat = torch.zeros(num, sum(p.numel() for p in params), device=params[0].device)
        for i in filter(ranks.owns, range(num)):
            flat[i] = parameters_to_vector(function(i))
        ranks.add_up(flat)
        sizes = [p.numel() for p in params]
        return [
            [part.view_as(p) for part, p in zip(row.split(sizes), params, strict=True)]
            for row in flat
        ]

    def of_all(self, own: dict[int, PassGradients], num_classes: int) -> list[tuple]:
        """Return (synthetic, real) gradient of each class; own: of those that this rank owns."""
        if ranks.size() == 1:
            return [(gradients.grads_syn, gradients.grads_real) for gradients in own.values()]
        syn = self._shared(lambda c: own[c].grads_syn, num_classes)
        real = self._shared(lambda c: own[c].grads_real, num_classes)
        return list(zip(syn, real, strict=True))
