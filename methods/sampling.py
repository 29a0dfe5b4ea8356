"""Samplers decide which real images of a class a step sees; batch sampling (BS) is one of them.

A sampler is `draw(c, num, rng, iteration) -> indices` into the training set: at most num images of
class c. It is on the device and does not wait for it. It keeps no state: random streams repeat a
run. (One that follows the network does: methods/representative.py.)

    python main_BS.py --layer_idx 3 --num_cluster 20 --ipc 10             # published: 42.8 ± 0.6 %
"""

import torch

from dataset.data import Data
from experiment.arguments import Arguments, flags_of
from experiment.shelf import FOLLOWING
from features.clusters import ensure_clusters, fingerprint, read_clusters
from features.given import given_clusters
from features.named import ensure_named_clusters
from methods.representative import RepresentativeSampler
from processes import ranks
from utils import Rng


def _some(members: torch.Tensor, num: int, rng: Rng) -> torch.Tensor:
    """Return min(num, len(members)) different members in random order."""
    order = torch.randperm(len(members), generator=rng.generator, device=members.device)
    return members[order[:num]]


class UniformSampler:
    """Draw from all training images of a class, as in DC and DSA."""

    def __init__(self, data: Data):
        self.indices_class = data.indices_class

    def draw(self, c: int, num: int, rng: Rng, iteration: int = 0) -> torch.Tensor:
        """Return min(num, class size) different positions of images of class c, in random order."""
        return _some(self.indices_class[c], num, rng)


def shares(sizes: list[int], num: int, least: int = 0) -> list[int]:
    """Split num in proportion to sizes, by largest remainders.

    A share is at least `least`, as far as num goes, and at most its size.
    """
    num = min(num, sum(sizes))
    exact = [num * size / sum(sizes) for size in sizes]
    parts = [min(size, max(least, int(share))) for size, share in zip(sizes, exact, strict=True)]
    below = [j for j in range(len(sizes)) if parts[j] < exact[j]]
    below.sort(key=lambda j: int(exact[j]) - exact[j])
    for j in below[: max(0, num - sum(parts))]:
        parts[j] += 1
    # What the smallest got beyond their share comes from the largest.
    while sum(parts) > num and max(parts) > least:
        parts[parts.index(max(parts))] -= 1
    return parts


class ClusterSampler:
    """Draw the batch of a class from its clusters: one of DRAWS.

    clusters: {class: {cluster: [indices, nearest to the centre first]}}; draw: a key of DRAWS; mix:
    the last iteration with cluster batches, uniform batches after it (None: never).
    .fingerprint: of the clusters; a run goes on with no others.
    """

    def __init__(self, data: Data, clusters: dict, draw: str = 'cluster', mix: int | None = None):
        self.uniform, self.kind, self.mix = UniformSampler(data), draw, mix
        self.members = [
            [torch.tensor(part, device=data.device) for part in clusters[c].values() if part]
            for c in range(data.num_classes)
        ]
        self.fingerprint = fingerprint(clusters)

    def draw(self, c: int, num: int, rng: Rng, iteration: int = 0) -> torch.Tensor:
        """Return at most num different positions of images of class c."""
        if self.mix is not None and iteration > self.mix:
            return self.uniform.draw(c, num, rng)
        return DRAWS[self.kind](self.members[c], num, rng)


def draw_cluster(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Draw up to num members of one cluster, all equally likely: the study's batch sampling."""
    return _some(
        members[int(torch.randint(len(members), (), generator=rng.host_generator))], num, rng
    )


def draw_proportional(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Draw up to num members of one cluster, as likely as it is large."""
    sizes = torch.tensor([float(len(part)) for part in members])
    return _some(members[int(torch.multinomial(sizes, 1, generator=rng.host_generator))], num, rng)


def draw_stratified(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Draw of every cluster its share, at random."""
    parts = shares([len(part) for part in members], num)
    return torch.cat([_some(part, share, rng) for part, share in zip(members, parts, strict=True)])


def draw_centroid(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Take of every cluster its share, one at least, nearest to the centre: no randomness."""
    parts = shares([len(part) for part in members], num, least=1)
    return torch.cat([part[:share] for part, share in zip(members, parts, strict=True)])[:num]


def draw_equal(members: list[torch.Tensor], num: int, rng: Rng) -> torch.Tensor:
    """Draw from the whole class as many as one cluster, drawn as in draw_cluster, would give."""
    chosen = int(torch.randint(len(members), (), generator=rng.host_generator))
    return _some(torch.cat(members), min(num, len(members[chosen])), rng)


DRAWS = {
    'cluster': draw_cluster,
    'proportional': draw_proportional,
    'stratified': draw_stratified,
    'centroid': draw_centroid,
    'equal': draw_equal,
}


def cluster_sampler(
    data: Data, *, cluster_path: str, layer_idx: int, num_cluster: int, norm: bool, draw: str,
    mix: int | None, extractor: str | None, extractor_epochs: int | None, feature_net: str | None,
    lr_net: float, batch_train: int, seed: int, precision: str,
) -> ClusterSampler:  # fmt: skip
    """Return the sampler that the flags of the same names describe; missing clusters are made.

    Those that come with the project are taken where there are no others.
    """
    if feature_net:
        clusters = ensure_named_clusters(
            data, cluster_path, feature_net, num_cluster, norm, lr_net=lr_net,
            batch_train=batch_train, seed=seed, precision=precision,
        )  # fmt: skip
        return ClusterSampler(data, clusters, draw, mix)
    path = ranks.from_first(
        ranks.leads()
        and given_clusters(
            data, cluster_path=cluster_path, layer_idx=layer_idx, num_cluster=num_cluster,
            norm=norm, extractor=extractor, extractor_epochs=extractor_epochs,
        )
    )  # fmt: skip
    if path:
        print(f'{path}: clusters that come with the project')
    else:
        (path,) = ensure_clusters(
            data, cluster_path, layers=[layer_idx], ks=[num_cluster], balanced=norm,
            extractor=extractor, epochs=extractor_epochs, seed=seed, precision=precision,
        )  # fmt: skip
    return ClusterSampler(data, read_clusters(path, data), draw, mix)


def make_sampler(
    data: Data, args: Arguments
) -> UniformSampler | ClusterSampler | RepresentativeSampler:
    """Return the sampler of --draw; a method that sees no batches has none, and gets any."""
    draw = vars(args).get('draw', 'uniform')
    if draw == 'uniform':
        return UniformSampler(data)
    if draw == FOLLOWING:
        return RepresentativeSampler(data, args.batch_real)
    return cluster_sampler(data, **flags_of(cluster_sampler, args))
