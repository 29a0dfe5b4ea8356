"""Samplers decide which real images a matching step sees. UniformSampler: any of the class, as in DC and DSA.

A sampler is `draw(c, num, generator) -> indices` into the training set, on the device, without waiting for
it; it keeps no state, so a run is repeated by its generator alone.
"""

import torch

from data import Data


class UniformSampler:
    """Draw from all training images of a class."""

    def __init__(self, data: Data):
        self.indices_class = data.indices_class

    def draw(self, c: int, num: int, generator: torch.Generator) -> torch.Tensor:
        """Return min(num, class size) different positions of images of class c, in random order."""
        members = self.indices_class[c]
        order = torch.randperm(len(members), generator=generator, device=members.device)
        return members[order[:num]]
