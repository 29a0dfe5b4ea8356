"""The clusters that come with the project, so that batch sampling begins at once.

They are of CIFAR-10, k 20, layer 3 (docs/methods/batch_sampling.md).

    python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20
"""

from pathlib import Path

from dataset.data import Data
from features.clusters import cluster_path, read_clusters
from features.extractor import extractor_path
from utils import UserError

GIVEN = Path(__file__).parents[1] / 'docs' / 'clusters'


def given_clusters(
    data: Data, folder: str | Path, *, layer: int, k: int, balanced: bool
) -> Path | None:
    """Return the cluster file of data that comes with the project, None if there is none.

    It stands in where folder has neither such a file nor an extractor: so half an hour is saved.
    """
    own = cluster_path(folder, data, k, layer, balanced), extractor_path(folder, data)
    path = cluster_path(GIVEN, data, k, layer, balanced)
    if not path.exists() or any(other.exists() for other in own):
        return None
    try:
        read_clusters(path, data)
    except UserError:  # other images of the same name
        return None
    return path
