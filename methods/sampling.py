"""Samplers decide which real images a matching step sees.

A sampler is `draw(c, num, rng, iteration) -> indices` into the training set, at most num images of class c,
on the device and without waiting for it. It keeps no state, so a run is repeated by its random streams alone.
"""

import torch

from data import Data
from device import Rng


def _some(members: torch.Tensor, num: int, rng: Rng) -> torch.Tensor:
    """Return min(num, len(members)) different members in random order."""
    order = torch.randperm(len(members), generator=rng.device, device=members.device)
    return members[order[:num]]


class UniformSampler:
    """Draw from all training images of a class, as in DC and DSA."""

    def __init__(self, data: Data):
        self.indices_class = data.indices_class

    def draw(self, c: int, num: int, rng: Rng, iteration: int = 0) -> torch.Tensor:
        """Return min(num, class size) different positions of images of class c, in random order."""
        return _some(self.indices_class[c], num, rng)


def shares(sizes: list[int], num: int, least: int = 0) -> list[int]:
    """Split num in proportion to sizes, by largest remainders; at least `least` each, at most the size."""
    num = min(num, sum(sizes))
    exact = [num * size / sum(sizes) for size in sizes]
    parts = [min(size, max(least, int(share))) for size, share in zip(sizes, exact, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda j: int(exact[j]) - exact[j])
    for j in by_remainder[: max(0, num - sum(parts))]:
        parts[j] = min(sizes[j], parts[j] + 1)
    return parts


class ClusterSampler:
    """Draw the batch of a class from its clusters (batch sampling, BS).

    clusters: {class: {cluster: [indices, nearest to the centre first]}}; mix: the last iteration with cluster
    batches, uniform batches after it (None: never). draw says how:
    `cluster`: one cluster, all equally likely, up to num of its members (the study);
    `proportional`: the same, a cluster as likely as it is large;
    `stratified`: of every cluster its share of num, at random;
    `centroid`: of every cluster its share of num, one at least, those nearest to its centre;
    `equal`: as many images as `cluster` would give, but of the whole class: the baseline of equal batch size.
    """

    def __init__(self, data: Data, clusters: dict, draw: str = 'cluster', mix: int | None = None):
        self.uniform, self.kind, self.mix = UniformSampler(data), draw, mix
        self.members = [
            [torch.tensor(part, device=data.device) for part in clusters[c].values() if part]
            for c in range(data.num_classes)
        ]

    def draw(self, c: int, num: int, rng: Rng, iteration: int = 0) -> torch.Tensor:
        """Return at most num different positions of images of class c."""
        if self.mix is not None and iteration > self.mix:
            return self.uniform.draw(c, num, rng)
        draw = draw_equal if self.kind == 'equal' else DRAWS[self.kind]
        return draw(self.members[c], num, rng)


def draw_cluster(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """One cluster, all equally likely."""
    return _some(members[int(torch.randint(len(members), (), generator=rng.host))], num, rng)


def draw_proportional(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """One cluster, as likely as it is large."""
    sizes = torch.tensor([float(len(part)) for part in members])
    return _some(members[int(torch.multinomial(sizes, 1, generator=rng.host))], num, rng)


def draw_stratified(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Of every cluster its share, at random."""
    parts = shares([len(part) for part in members], num)
    return torch.cat([_some(part, share, rng) for part, share in zip(members, parts, strict=True)])


def draw_centroid(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Of every cluster its share, one at least, nearest to the centre: no randomness."""
    parts = shares([len(part) for part in members], num, least=1)
    return torch.cat([part[:share] for part, share in zip(members, parts, strict=True)])[:num]


def draw_equal(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Of the whole class, as many as a cluster drawn as in draw_cluster would give."""
    chosen = int(torch.randint(len(members), (), generator=rng.host))
    return _some(torch.cat(members), min(num, len(members[chosen])), rng)


DRAWS = {
    'cluster': draw_cluster,
    'proportional': draw_proportional,
    'stratified': draw_stratified,
    'centroid': draw_centroid,
}
