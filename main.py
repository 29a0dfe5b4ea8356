"""Condense a data set by gradient matching (DC, DSA), judge the result, and save it in results/<run name>/.

    python main.py --dataset Digits --ipc 1 --Iteration 100 --num_exp 1   # a minute, no download
    python main.py --method DC --dataset CIFAR10 --ipc 10                 # published: 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10                # published: 52.1 ± 0.5 %

The same command continues a run that was stopped; a finished run prints its result.
"""

from condense import condense
from data import load
from device import set_up_device
from methods import METHODS
from methods.distance import DISTANCES
from methods.sampling import UniformSampler
from utils import add_condensation, base_parser, parse, script


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_condensation(parser, METHODS, DISTANCES)
    args = parse(parser, argv, METHODS)
    device = set_up_device(args.device, args.precision)
    data = load(args.dataset, args.data_path, args.im_size, device)
    condense(METHODS[args.method], data, UniformSampler(data), args)


if __name__ == '__main__':
    main()
