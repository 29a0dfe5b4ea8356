"""Condense on batches drawn from clusters of each class: batch sampling (BS), on DC, DSA, DM, …

    python main_BS.py --layer_idx 3 --num_cluster 20 --ipc 10             # published: 42.8 ± 0.6 %
    python main_BS.py --method DSA --dataset Digits --model ConvNetD1 --num_cluster 5

This is main.py with another sampler. The study's clusters of CIFAR-10 come with the project; others
that are missing are made first (main_cluster.py).
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
    args = parse_condensing(__doc__, argv, SHELF, draw='cluster')
    data = load_data(args)
    condense(METHODS[args.method], data, make_sampler, args)


if __name__ == '__main__':
    main()
