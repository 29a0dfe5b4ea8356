"""Condense a data set by gradient matching on batches drawn from clusters (BS), on top of DC or of DSA.

    python main_BS.py --layer_idx 3 --num_cluster 20 --ipc 10      # published: 42.8 ± 0.6 %
    python main_BS.py --method DSA --dataset Digits --model ConvNetD1 --num_cluster 5

The clusters are made first when they are missing (main_cluster.py). `main.py --method BS` is the same with
DC. The same command continues a run that was stopped; a finished run prints its result.
"""

from condense import condense
from data import load
from device import set_up_device
from flags import add_condensation, add_matching, add_sampling, base_parser, check_typed
from methods import CLUSTERED, METHODS, taken_flags
from methods.batch_sampling import cluster_sampler
from methods.distance import DISTANCES
from methods.reduction import REDUCTIONS
from methods.sampling import DRAWS
from utils import flags_of, parse, script


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_condensation(parser, CLUSTERED)
    add_matching(parser, DISTANCES, REDUCTIONS)
    add_sampling(parser, DRAWS)
    args = parse(parser, argv, METHODS, names=CLUSTERED)
    check_typed(args, taken_flags())
    device = set_up_device(args.device, args.precision)
    data = load(args.dataset, args.data_path, args.im_size, device)
    sampler = cluster_sampler(data, **flags_of(cluster_sampler, args))
    condense(METHODS[args.method], data, sampler, args)


if __name__ == '__main__':
    main()
