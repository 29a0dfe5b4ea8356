"""BS, batch sampling: the real batches of a class come from its clusters, made first when they are
missing."""

from clusters import ensure_clusters, read_clusters
from data import Data
from methods.sampling import ClusterSampler


def cluster_sampler(
    data: Data, *, cluster_path: str, layer_idx: int, num_cluster: int, norm: bool, draw: str,
    mix: int | None, extractor: str | None, extractor_epochs: int | None, seed: int, precision: str,
    equal_batch: bool = False,
) -> ClusterSampler:  # fmt: skip
    """Return the sampler that the flags of the same names describe.

    equal_batch: uniform batches, but as large as those of the clusters.
    """
    (path,) = ensure_clusters(
        data, cluster_path, layers=[layer_idx], ks=[num_cluster], balanced=norm, extractor=extractor,
        epochs=extractor_epochs, seed=seed, precision=precision,
    )  # fmt: skip
    return ClusterSampler(data, read_clusters(path, data), 'equal' if equal_batch else draw, mix)
