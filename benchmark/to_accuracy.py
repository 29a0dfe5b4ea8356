"""The contest: seconds of condensing to the published accuracy, beside the public reference.

A recipe fixes the iterations beforehand, so nothing is chosen by looking at the accuracy. Time is
of condensing, the start of the images included, evaluation apart. The reference is timed in the
same call, an iteration of its own settings, times the iterations of the paper.
"""

import itertools
from pathlib import Path
from statistics import mean, median, pstdev

from benchmark.measure import iteration_seconds, measure
from benchmark.table import text_of, write_csv
from condense import condense
from dataset.data import Data
from engine.device import set_up_device
from experiment.arguments import Arguments, parse_condensing
from methods import METHODS, SHELF
from methods.presets import LOOPS
from methods.sampling import make_sampler
from report.logs import FINISHED, images_seen, read_args, read_log, start_of
from report.tables import paper_of, paper_text, published
from utils import UserError

COLUMNS = (
    'method', 'recipe', 'ipc', 'factor', 'iterations', 'precision', 'compile', 'real_images',
    'seeds', 'networks', 'accuracy', 'std', 'start', 'seconds', 'published', 'reference_iteration',
    'reference_hours', 'times',
)  # fmt: skip
ITERATIONS = 1000  # of the paper
PAPERS = Path(__file__).parents[1] / 'docs' / 'published.csv'


def arguments_of(method: str, ipc: int, seed: int, options: dict) -> Arguments:
    """Return the arguments of main.py with the recipe, evaluated by the protocol of DC."""
    words = ['--method', method, '--recipe', options['recipe'], '--ipc', ipc, '--seed', seed]
    words += ['--num_exp', 1, '--protocol', 'dc']
    names = 'num_eval', 'dataset', 'data_path', 'save_path', 'device'
    words += [word for name in names for word in (f'--{name}', options[name])]
    return parse_condensing('', [*map(str, words)], SHELF, draw='uniform')


def check_machine(args: Arguments, device: str) -> None:
    """Raise UserError if the run is finished and was made on another device than that."""
    folder = Path(args.save_path) / args.run_name
    if not (folder / 'args.json').exists():
        return
    if read_args(folder, FINISHED)['environment']['device'] != device:
        raise UserError(
            f'{folder} was made on another device than {device}: its seconds are not of this '
            'machine; pass another --save_path'
        )


def contest_row(data: Data, runs: list[Arguments]) -> dict:
    """Condense with the recipe for every seed; return what it gave, all networks together."""
    accs, seconds, starts, seen = [], [], [], []
    set_up_device(runs[0].device, runs[0].precision)
    for args in runs:
        own = condense(METHODS[args.method], data, make_sampler, args)
        accs += [100 * value for values in own.values() for value in values]
        records = read_log(Path(args.save_path) / args.run_name)
        seconds.append(sum(record.get('seconds', 0) for record in records))
        seen.append(images_seen(records, vars(args), 1))
        starts += [start_of(records, network) for network in own]
    starts = [start for start in starts if start is not None]
    return {
        'method': args.method, 'recipe': args.recipe, 'ipc': args.ipc, 'factor': args.factor,
        'iterations': args.Iteration, 'precision': args.precision, 'compile': args.compile,
        'real_images': seen[0], 'seeds': len(seconds), 'networks': len(accs),
        'accuracy': mean(accs), 'std': pstdev(accs), 'start': mean(starts) if starts else '',
        'seconds': median(seconds),
        'published': paper_text(paper_of({'method': 'DC'}, args.ipc, published(PAPERS), data.name)),
    }  # fmt: skip


def reference_columns(row: dict, options: dict) -> dict:
    """Time the reference's iteration; return it, its hours, and how many times ours they are."""
    options = options | {'quantities': ('match', 'inner_epoch')}
    try:
        measured = measure('reference', 'DC', row['ipc'], options)
    except RuntimeError as error:
        raise UserError(str(error)) from None
    match, epoch = (median(measured[key]['seconds']) for key in options['quantities'])
    iteration = iteration_seconds(row['ipc'], match, epoch)
    return {
        'reference_iteration': iteration,
        'reference_hours': ITERATIONS * iteration / 3600,
        'times': ITERATIONS * iteration / row['seconds'],
    }


def contest(data: Data, options: dict, facts: dict) -> None:
    """Run the contest for every method and ipc; print and write a row as it comes."""
    # Every command is read first: a mistake must not show after an hour.
    seeds = dict.fromkeys(options['seeds'])
    cells = itertools.product(options['method'], options['ipc'])
    runs = [[arguments_of(*cell, seed, options) for seed in seeds] for cell in cells]
    for args in itertools.chain(*runs):
        check_machine(args, facts['device'])
    rows = []
    for of_cell in runs:
        row = contest_row(data, of_cell)
        if options['reference'] and row['ipc'] in LOOPS:
            row |= reference_columns(row, options)
        rows.append(row)
        write_csv(options['out'], COLUMNS, rows, facts)
        print(text_of(COLUMNS, rows))
