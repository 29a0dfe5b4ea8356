"""Condense a data set (DC, DSA, DM, IDC, …), or choose a coreset; evaluate and save the set.

    python main.py --dataset Digits --ipc 1 --Iteration 100 --num_exp 1   # minutes, no download
    python main.py --method DC --dataset CIFAR10 --ipc 10                 # published: 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10                # published: 52.1 ± 0.5 %

The same command continues a run that was stopped; a finished run prints its result.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from condense import condense
from experiment.arguments import parse_condensing
from experiment.data import load_data
from methods import METHODS, SHELF
from methods.sampling import make_sampler
from utils import script


@script
def main(argv=None):
    """Condense as the command line says."""
    args = parse_condensing(__doc__, argv, SHELF, draw='uniform')
    data = load_data(args)
    condense(METHODS[args.method], data, make_sampler, args)


if __name__ == '__main__':
    main()
