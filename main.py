"""Condense a data set (DC, DSA, BS, DM, DD), or choose a coreset; judge and save the set.

    python main.py --dataset Digits --ipc 1 --Iteration 100 --num_exp 1   # minutes, no download
    python main.py --method DC --dataset CIFAR10 --ipc 10                 # published: 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10                # published: 52.1 ± 0.5 %

The same command continues a run that was stopped; a finished run prints its result.
"""

from condense import condense
from data import load
from device import set_up_device
from errors import UserError
from flags import add_condensation, add_matching, add_sampling, base_parser, check_typed
from methods import CLUSTERED, METHODS, taken_flags
from methods.batch_sampling import cluster_sampler
from methods.distance import DISTANCES
from methods.reduction import REDUCTIONS
from methods.sampling import DRAWS, UniformSampler
from utils import flags_of, parse, script


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_condensation(parser, METHODS)
    add_matching(parser, DISTANCES, REDUCTIONS)
    add_sampling(parser, DRAWS)
    parser.add_argument('--equal_batch', action='store_true', help='uniform batches as large as those of BS')
    args = parse(parser, argv, METHODS)
    if args.equal_batch and args.method not in CLUSTERED:
        raise UserError(f'--equal_batch is a baseline for BS: use it with {", ".join(CLUSTERED)}')
    check_typed(args, taken_flags())
    device = set_up_device(args.device, args.precision)
    data = load(args.dataset, args.data_path, args.im_size, device)
    if args.method in CLUSTERED.values() or args.equal_batch:
        sampler = cluster_sampler(data, **flags_of(cluster_sampler, args))
    else:
        sampler = UniformSampler(data)
    condense(METHODS[args.method], data, sampler, args)


if __name__ == '__main__':
    main()
