"""Time and memory of condensing with ConvNet, beside the textbook loop and the public reference.

    python bench.py --ipc 1 10 --method DC                       # 10 minutes on two CPU cores
    # VICO-UoE/DatasetCondensation, cloned.
    python bench.py --reference path/to/DatasetCondensation
    python bench.py --to_accuracy --ipc 1 --seeds 1 2 3 4 5     # seconds to the published accuracy
    python bench.py --to_accuracy --ipc 10 --method DM --recipe tiles

Medians after one warm-up; every contestant runs in a process of its own, as its users would run it.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import itertools
import platform
from argparse import BooleanOptionalAction
from statistics import median

import torch

from benchmark.contestants import reference_modules
from benchmark.measure import QUANTITIES, iteration_seconds, measure, rates, work_of_a_step
from benchmark.table import text_of, write_csv
from benchmark.to_accuracy import contest
from dataset.data import load_dataset
from engine.device import fast_precision, set_up_device
from experiment.compiling import MEANING
from experiment.environment import environment
from experiment.parser import Parser
from experiment.values import natural, number, place, positive, several, word
from methods.presets import LOOPS
from methods.recipes import RECIPES
from storage.files import check_writable
from utils import UserError, script

COLUMNS = (
    'method', 'ipc', 'contestant', 'match', 'inner_epoch', 'evaluation_epoch', 'test',
    'evaluate_network', 'iteration', 'peak_memory_mib', 'share_of_matrix_rate',
    'share_of_copy_rate', 'first_match', 'spread_match', 'ranks', 'gather',
)  # fmt: skip
# Flags that time parts of a run, flags of whole runs, and contestants other than ours.
PARTS = 'precision', 'compile', 'textbook', 'ranks', 'only_match'
CONTEST = 'recipe', 'seeds', 'num_eval', 'save_path'
OTHERS = 'reference', 'textbook'
EPOCHS = {'DC': 301, 'BS': 301, 'DSA': 1001}
WITH_RECIPE = dict.fromkeys(method for of in RECIPES.values() for method in of)


def row_of(method: str, ipc: int, name: str, measured: dict, work: tuple, rate: dict) -> dict:
    """Return a row: medians in seconds, shares of the hardware's rates, what follows from them."""
    row = {
        'method': method,
        'ipc': ipc,
        'contestant': name,
        'peak_memory_mib': measured['peak_memory_mib'],
    }
    quantities = (*QUANTITIES, 'gather')
    row |= {key: median(measured[key]['seconds']) for key in quantities if key in measured}
    seconds = measured['match']['seconds']
    row['first_match'] = measured['match']['first']
    row['spread_match'] = f'{min(seconds):.3g}-{max(seconds):.3g}'
    # The others run as they come: convolutions in TF32 where the device has it.
    precision = name.split()[1] if name.startswith('ours') else 'tf32'
    row['share_of_matrix_rate'] = work[0] / rate.get(precision, rate['fp32']) / row['match']
    row['share_of_copy_rate'] = work[1] / rate['copy'] / row['match']
    if 'evaluation_epoch' in row:
        row['evaluate_network'] = EPOCHS[method] * row['evaluation_epoch'] + row['test']
    if ipc in LOOPS and 'inner_epoch' in row:
        row['iteration'] = iteration_seconds(ipc, row['match'], row['inner_epoch'])
    return row


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__)
    parser.add_argument(
        '--method', nargs='+', default=['DC'], choices=EPOCHS | WITH_RECIPE,
        help='default: DC; the contest has those with the recipe, the rest DC, BS, DSA',
    )  # fmt: skip
    parser.add_argument(
        '--ipc', nargs='+', type=several, default=[1, 10, 50], help='default: 1 10 50'
    )
    parser.add_argument(
        '--precision', nargs='+', choices=('fp32', 'tf32', 'bf16'),
        help='default: the fast one, fp32',
    )  # fmt: skip
    parser.add_argument(
        '--compile', choices=MEANING, default='on',
        help='ours compiled, on a GPU replayed (default: on), or only that (graphs), or neither',
    )  # fmt: skip
    parser.add_argument(
        '--textbook', action=BooleanOptionalAction, default=True, help='time it too'
    )
    parser.add_argument('--reference', type=place, help='folder of the public reference')
    parser.add_argument(
        '--ranks', nargs='+', type=number(int, 1, 1024), metavar='N',
        help='ours by N processes with one thread each, and nothing else',
    )  # fmt: skip
    parser.add_argument(
        '--only_match', action='store_true', help='only the matching step, for its memory'
    )
    group = parser.add_argument_group('the contest: seconds to the published accuracy')
    group.add_argument('--to_accuracy', action='store_true', help='condense with a recipe')
    group.add_argument('--recipe', default='fast', choices=RECIPES, help='default: fast')
    group.add_argument('--seeds', nargs='+', type=natural, default=[1], help='default: 1')
    group.add_argument('--num_eval', type=several, default=20, help='networks (default: 20)')
    group.add_argument('--save_path', type=word, default='results', help='folder of the runs')
    parser.add_argument('--repeats', type=positive, default=7, help='default: %(default)s')
    for flag, kind, default, text in (
        ('dataset', word, 'CIFAR10', 'name or path'),
        ('data_path', word, 'data', 'folder of the data sets'),
        ('device', word, 'cuda' if torch.cuda.is_available() else 'cpu', 'cpu, cuda, cuda:1 …'),
        ('out', place, 'results/bench.csv', 'the table'),
    ):
        text += ' (default: %(default)s)'
        parser.add_argument(f'--{flag}', type=kind, default=default, help=text)
    return parser


def facts_of_machine(device: torch.device, args) -> dict:
    """Return what every row says of the machine, the versions and the data."""
    facts = environment(device) | {'machine': platform.machine()}
    return facts | {'dataset': args.dataset, 'compile': args.compile}


def rows_of_all(args, names: list[str], data, rate: dict, facts: dict) -> list[dict]:
    """Measure every contestant for every method and ipc; write and print rows as they come."""
    rows, quantities = [], QUANTITIES[:1] if args.only_match else QUANTITIES
    if args.ranks:
        quantities = (*quantities, 'gather')
    options = vars(args) | {'quantities': quantities, 'compile': MEANING[args.compile]}
    for method in args.method:
        for ipc in args.ipc:
            work = work_of_a_step(data, ipc)
            for name, num in itertools.product(names, args.ranks or [None]):
                try:
                    measured = measure(name, method, ipc, options | {'ranks': num})
                except RuntimeError as error:
                    raise UserError(str(error)) from None
                row = row_of(method, ipc, name, measured, work, rate)
                rows.append(row | ({'ranks': num} if num else {}))
                write_csv(args.out, COLUMNS, rows, facts)
                print(text_of(COLUMNS, rows).splitlines()[-1], flush=True)
    return rows


def check_flags(args, typed: set[str]) -> None:
    """Raise UserError for a typed flag that does nothing beside the others."""
    useless = [
        (PARTS, args.to_accuracy, 'with --to_accuracy, which runs a recipe'),
        (CONTEST, not args.to_accuracy, 'without --to_accuracy'),
        (['repeats'], args.to_accuracy and not args.reference, 'without --reference'),
        (OTHERS, args.ranks, 'with --ranks, which times ours alone'),
    ]
    for flags, holds, why in useless:
        if holds and typed.intersection(flags):
            raise UserError(f'--{min(typed.intersection(flags))} does nothing {why}: leave one out')


def check_methods(args) -> None:
    """Raise UserError for a method that the contest, or what is not the contest, does not have."""
    known = RECIPES[args.recipe] if args.to_accuracy else EPOCHS
    what = f'--to_accuracy --recipe {args.recipe}' if args.to_accuracy else 'without --to_accuracy'
    for method in args.method:
        if method not in known:
            raise UserError(f'--method {method}: {what} has only {", ".join(known)}')


def prepare(args) -> None:
    """Make the folder of --out and import the reference: mistakes show before any work."""
    check_writable(args.out, '--out')
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out {args.out} cannot be written ({error.strerror})') from error
    if args.reference:
        reference_modules(args.reference)
    if args.ranks:
        torch.set_num_threads(1)  # as each of them has


@script
def main(argv=None):
    """Measure the contestants; print and write a row for each."""
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args, parser.typed(argv))
    check_methods(args)
    device = set_up_device(args.device, 'fp32')
    prepare(args)
    precisions = args.precision or dict.fromkeys([fast_precision(args.device), 'fp32'])
    data = load_dataset(args.dataset, args.data_path, device=device)
    if args.to_accuracy:
        return contest(data, vars(args), environment(device) | {'dataset': args.dataset})
    facts = facts_of_machine(device, args)
    print('  '.join(f'{key}={value}' for key, value in facts.items()))
    rate = rates(device, precisions)
    names = [f'ours {precision}' for precision in precisions]
    names += ['textbook'] * (args.textbook and not args.ranks)
    names += ['reference'] * (bool(args.reference) and not args.ranks)
    print('  '.join(f'{key}={value:.3g}/s' for key, value in rate.items()))
    rows = rows_of_all(args, names, data, rate, facts)
    print(f'\n{text_of(COLUMNS, rows)}\n{args.out}')
    return None


if __name__ == '__main__':
    main()
