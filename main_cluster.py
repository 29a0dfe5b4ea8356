"""Cluster every class of a data set by ResNet18 features, for batch sampling.

    python main_cluster.py --dataset Digits --num_cluster 5 --layer_idx 3                      # 30 s
    python main_cluster.py --dataset CIFAR10 --layer_idx 0 1 2 3 --num_cluster 5 10 15 20 25   # all ablations

The extractor is made first when it is missing. What is there already is left alone.
"""

from clusters import ensure_clusters, facts_of
from data import load
from device import set_up_device
from flags import add_clusters, base_parser
from utils import parse, script


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_clusters(parser, several=True)
    args = parse(parser, argv)
    device = set_up_device(args.device, args.precision)
    data = load(args.dataset, args.data_path, args.im_size, device)
    paths = ensure_clusters(
        data, args.cluster_path, layers=args.layer_idx, ks=args.num_cluster, balanced=args.norm,
        extractor=args.extractor, epochs=args.extractor_epochs, seed=args.seed, precision=args.precision,
    )  # fmt: skip
    for path in paths:
        facts = facts_of(path)
        if not facts:
            print(f'{path}: no JSON beside it, so nothing is known of how it was made')
            continue
        print(
            f'{path}: sizes {facts["size_min"]} to {facts["size_max"]}, mean silhouette '
            f'{sum(facts["silhouette"]) / data.num_classes:.3f}, {facts["seconds"]:.1f} s'
        )


if __name__ == '__main__':
    main()
