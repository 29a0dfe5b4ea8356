"""Continual learning from a memory of few images a class: which memory forgets least?

    python -m applications.continual_learning --steps 5 --ipc 10 --orders 3 --csv curves.csv
    python -m applications.continual_learning --tasks MNIST USPS Digits --num_real 2000

Classes come in steps (applications/classes.py), or data sets in turn (applications/tasks.py).
The memory is made by any method of main.py. `full` is the bound: all real images. The same command
continues a study that was stopped; a kill loses one network. What was found: docs/applications.md
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from applications import classes, tasks
from applications.curves import BOUND, NONE, draw, table, write_csv
from applications.sets import (
    add_numbers_and_outputs,
    check_names,
    checked_outputs,
    study_arguments,
    study_parser,
)
from evaluation.real import EPOCHS
from experiment.arguments import Arguments
from experiment.data import load_data
from experiment.parser import Parser
from experiment.values import word
from utils import UserError, script

MEMORIES = 'random', 'herding', 'kmeans', 'DC', 'BS', 'DM', BOUND
DEFAULTS = {'ipc': 10, 'num_eval': 1, 'protocol': 'dsa', 'save_path': 'results/continual'}


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = study_parser(__doc__, DEFAULTS)
    group = parser.add_argument_group('the study')
    group.add_argument(
        '--memories', nargs='+', type=word, default=MEMORIES, metavar='NAME',
        help=f"methods, 'method --flag value', {BOUND} real images, of --tasks also {NONE} "
        f'(default: {" ".join(MEMORIES)})',
    )  # fmt: skip
    group.add_argument(
        '--tasks', nargs='+', type=word, metavar='DATASET',
        help='data sets in turn, in place of classes',
    )  # fmt: skip
    add_numbers_and_outputs(
        group,
        ('steps', f'steps of classes (default: {classes.STEPS})'),
        ('orders', 'repetitions, by other orders of the classes or other seeds (default: 3)'),
        ('epochs_real', f'epochs on real images (default: {EPOCHS}; of a task {tasks.EPOCHS})'),
        ('num_real', 'real images of a task (default: all)'),
    )
    return parser


def check_flags(args: Arguments) -> Arguments:
    """Return args with what was not typed; raise UserError for flags that cannot work."""
    check_names('--memories', args.memories, (BOUND, NONE) if args.tasks else (BOUND,))
    if args.tasks and (args.steps or 'dataset' in args.typed):
        raise UserError('--tasks names the data sets in turn: leave out --steps and --dataset')
    if args.num_real and not args.tasks:
        raise UserError('--num_real does nothing without --tasks: leave it out')
    useless = {'num_eval', 'protocol'} & args.typed.keys() if args.tasks else set()
    for flag in useless:
        raise UserError(f'--{flag} does nothing with --tasks: leave it out')
    out = checked_outputs(args)
    return args.replaced(out=out, orders=args.orders or 3, memories=list(args.memories))


@script
def main(argv=None):
    """Run the study; print its table, write its CSV and its figure."""
    args = check_flags(study_arguments(make_parser(), argv, **DEFAULTS))
    if args.tasks:
        curves, ledger = tasks.study(args)
        result = curves, list(range(1, len(args.tasks) + 1)), 'tasks'
    else:
        args = args.replaced(steps=args.steps or classes.STEPS)
        data = load_data(args)
        curves, ledger = classes.study(args, data)
        result = curves, classes.seen(args, data), 'classes'
    if args.csv:
        write_csv(args.csv, *result)
        print(args.csv)
    if args.out:
        draw(*result, args.out)
    ledger.show(table(*result))


if __name__ == '__main__':
    main()
