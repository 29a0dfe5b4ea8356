"""The clusters that come with the project, so that batch sampling begins at once.

They are the study's eight files of CIFAR-10: k 5 to 25 at layer 3, and layers 0 to 2 with k 20
(docs/methods/batch_sampling.md).

    python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 20
"""

from pathlib import Path

from dataset.data import Data
from experiment.arguments import Arguments, flags_of
from experiment.flags import FLAGS
from experiment.shelf import needs_clusters
from features.clusters import cluster_path as path_of
from features.clusters import fingerprint, load_clusters, read_clusters
from utils import UserError

GIVEN, SHAPE = Path(__file__).parents[1] / 'docs' / 'clusters', (3, 32, 32)


def given_clusters(
    data: Data, *, cluster_path: str, layer_idx: int, num_cluster: int, norm: bool,
    extractor: str | None, extractor_epochs: int | None,
) -> Path | None:  # fmt: skip
    """Return the cluster file of data that comes with the project, None if there is none.

    Arguments are the flags of the same names. It stands in where the user names neither a folder
    nor an extractor, and the usual folder lacks this file. Raises UserError if it is damaged.
    """
    kind = data, num_cluster, layer_idx, norm
    own, path = path_of(cluster_path, *kind), path_of(GIVEN, *kind)
    usual = Path(cluster_path) == Path(FLAGS['cluster_path'].default) and not own.exists()
    original = data.shape == SHAPE and not data.whitening
    if extractor or extractor_epochs or not usual or not original or not path.exists():
        return None
    load_clusters(path)  # which a damaged file does not pass
    try:
        read_clusters(path, data, wanted={'k': num_cluster, 'layer': layer_idx, 'norm': norm})
    except UserError:  # other images of the same name
        return None
    return path


def clusters_at_hand(data: Data, args: Arguments) -> str | None:
    """Return the fingerprint of the clusters that a command means, None if it has none yet."""
    values = vars(args)
    if not needs_clusters(values.get('draw')) or values.get('feature_net'):
        return None
    path = path_of(args.cluster_path, data, args.num_cluster, args.layer_idx, args.norm)
    if not path.exists():
        path = given_clusters(data, **flags_of(given_clusters, args))
    return fingerprint(read_clusters(path, data)) if path else None
