"""Cluster every class of a data set by ResNet18 features, for batch sampling.

    python main_cluster.py --dataset Digits --num_cluster 5 --layer_idx 3            # 30 s
    python main_cluster.py --dataset CIFAR10 --layer_idx 0 1 2 3 --num_cluster 5 10 15 20 25

The extractor is made first if it is missing. Files that are there already stay as they are.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from experiment.arguments import parse
from experiment.data import load_data
from experiment.flags import CLUSTERS, COMPUTE, DATA
from experiment.parser import Parser
from features.clusters import ensure_clusters, facts_of
from utils import script


@script
def main(argv=None):
    """Make the missing cluster files, and print a line on each file."""
    several = 'layer_idx', 'num_cluster'
    parser = Parser(__doc__, (*DATA, *CLUSTERS, *COMPUTE), several=several)
    args = parse(parser, argv, layer_idx=[1], num_cluster=[20])
    data = load_data(args)
    paths = ensure_clusters(
        data, args.cluster_path, layers=args.layer_idx, ks=args.num_cluster, balanced=args.norm,
        extractor=args.extractor, epochs=args.extractor_epochs, seed=args.seed,
        precision=args.precision,
    )  # fmt: skip
    for path in paths:
        facts = facts_of(path)
        if not facts:
            print(f'{path}: a file of the original, so nothing is known of how it was made')
            continue
        known = [score for score in facts['silhouette'] if score is not None]
        silhouette = sum(known) / len(known) if known else float('nan')
        print(
            f'{path}: sizes {facts["size_min"]} to {facts["size_max"]}, mean silhouette '
            f'{silhouette:.3f}, {facts["seconds"]:.1f} s'
        )


if __name__ == '__main__':
    main()
