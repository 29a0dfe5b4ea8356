"""BS, batch sampling: the real batches of a class come from its clusters, made first when they are
missing."""

from pathlib import Path

from clusters import ensure_clusters, read_clusters
from data import Data
from extractor import extractor_path
from methods.sampling import ClusterSampler
from storage import file_hash


def cluster_sampler(
    data: Data, *, cluster_path: str, layer_idx: int, num_cluster: int, norm: bool, draw: str,
    mix: int | None, extractor: str | None, extractor_epochs: int, seed: int, precision: str,
    equal_batch: bool = False,
) -> ClusterSampler:  # fmt: skip
    """Return the sampler that the flags of the same names describe.

    equal_batch: uniform batches, but as large as those of the clusters.
    """
    (path,) = ensure_clusters(
        data, cluster_path, layers=[layer_idx], ks=[num_cluster], balanced=norm, extractor=extractor,
        epochs=extractor_epochs, seed=seed, precision=precision,
    )  # fmt: skip
    weights = Path(extractor) if extractor else extractor_path(cluster_path, data)
    clusters = read_clusters(path, data, file_hash(weights) if weights.exists() else None)
    return ClusterSampler(data, clusters, 'equal' if equal_batch else draw, mix)
