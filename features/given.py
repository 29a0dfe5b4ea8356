"""The clusters that come with the project, so that batch sampling begins at once.

They are of CIFAR-10, k 20, layer 3 (docs/methods/batch_sampling.md).

    python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20
"""

from pathlib import Path

from dataset.data import Data
from experiment.arguments import Arguments
from experiment.flags import FLAGS
from experiment.shelf import needs_clusters
from features.clusters import cluster_path, fingerprint, load_clusters, read_clusters
from utils import UserError

GIVEN, SHAPE = Path(__file__).parents[1] / 'docs' / 'clusters', (3, 32, 32)


def given_clusters(
    data: Data, folder: str | Path, *, layer: int, k: int, balanced: bool
) -> Path | None:
    """Return the cluster file of data that comes with the project, None if there is none.

    It stands in where the user names no folder, and the usual one lacks this file. Raises
    UserError if it is damaged.
    """
    own, path = (cluster_path(place, data, k, layer, balanced) for place in (folder, GIVEN))
    usual = str(folder) == FLAGS['cluster_path'].default
    original = data.shape == SHAPE and not data.whitening
    if not path.exists() or not usual or not original or own.exists():
        return None
    load_clusters(path)  # which a damaged file does not pass
    try:
        read_clusters(path, data, wanted={'k': k, 'layer': layer, 'norm': balanced})
    except UserError:  # other images of the same name
        return None
    return path


def clusters_at_hand(data: Data, args: Arguments) -> str | None:
    """Return the fingerprint of the clusters that a command means, None if it has none yet."""
    values = vars(args)
    if not needs_clusters(values.get('draw')) or values.get('feature_net'):
        return None
    kind = {'k': args.num_cluster, 'layer': args.layer_idx, 'balanced': args.norm}
    path = cluster_path(args.cluster_path, data, **kind)
    if not path.exists():
        own = args.extractor or args.extractor_epochs
        path = None if own else given_clusters(data, args.cluster_path, **kind)
    return fingerprint(read_clusters(path, data)) if path else None
