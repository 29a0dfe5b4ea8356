"""The contest: seconds of condensing to the published accuracy, beside the public reference.

A recipe fixes the iterations beforehand, so nothing is chosen by looking at the accuracy. Time is
of condensing, the start of the images included, evaluation apart. The reference is timed in the
same call, an iteration of its own settings, times the iterations of the paper.
"""

import csv
import io
from pathlib import Path
from statistics import mean, median, stdev

from benchmark.measure import measure
from condense import condense
from dataset.data import Data
from experiment.arguments import parse_condensing
from experiment.files import write_atomic
from methods import METHODS, SHELF
from methods.presets import LOOPS
from methods.sampling import make_sampler
from report.kept import read_log
from report.logs import images_seen
from report.tables import paper_of, paper_text, published
from utils import UserError, aligned

COLUMNS = (
    'ipc', 'factor', 'iterations', 'real_images', 'seeds', 'networks', 'accuracy', 'std', 'start',
    'seconds', 'published', 'reference_iteration', 'reference_hours', 'times',
)  # fmt: skip
ITERATIONS = 1000  # of the paper
PAPERS = Path(__file__).parents[1] / 'docs' / 'published.csv'


def contest_row(data: Data, ipc: int, options: dict) -> dict:
    """Condense with the recipe for every seed; return what it gave, all networks together."""
    accs, seconds, starts, seen = [], [], [], []
    for seed in options['seeds']:
        words = ['--recipe', options['recipe'], '--ipc', ipc, '--seed', seed, '--num_exp', 1]
        words += ['--num_eval', options['num_eval'], '--dataset', options['dataset']]
        words += ['--data_path', options['data_path'], '--save_path', options['save_path']]
        words += ['--device', options['device']]
        args = parse_condensing('', [*map(str, words)], SHELF, draw='uniform')
        own = condense(METHODS[args.method], data, make_sampler(data, args), args)
        accs += [100 * value for values in own.values() for value in values]
        records = read_log(Path(args.save_path) / args.run_name)
        seconds.append(sum(record.get('seconds', 0) for record in records))
        seen.append(images_seen(records, vars(args), 1))
        starts += [
            100 * value
            for record in records
            if 'accs' in record and record['iteration'] == 0
            for values in record['accs'].values()
            for value in values
        ]
    return {
        'ipc': ipc, 'factor': args.factor, 'iterations': args.Iteration, 'real_images': seen[0],
        'seeds': len(seconds), 'networks': len(accs), 'accuracy': mean(accs),
        'std': stdev(accs) if len(accs) > 1 else 0.0, 'start': mean(starts) if starts else '',
        'seconds': median(seconds),
        'published': paper_text(paper_of({'method': 'DC'}, ipc, published(PAPERS), data.name)),
    }  # fmt: skip


def reference_columns(row: dict, options: dict) -> dict:
    """Time the reference's iteration; return it, its hours, and how many times ours they are."""
    options = options | {'quantities': ('match', 'inner_epoch')}
    try:
        measured = measure('reference', 'DC', row['ipc'], options)
    except RuntimeError as error:
        raise UserError(str(error)) from None
    match, epoch = (median(measured[key]['seconds']) for key in options['quantities'])
    outer, inner = LOOPS[row['ipc']]
    iteration = outer * match + (outer - 1) * inner * epoch
    return {
        'reference_iteration': iteration,
        'reference_hours': ITERATIONS * iteration / 3600,
        'times': ITERATIONS * iteration / row['seconds'],
    }


def contest(data: Data, options: dict, facts: dict) -> None:
    """Run the contest for every ipc; print and write a row as it comes."""
    rows = []
    for ipc in options['ipc']:
        row = contest_row(data, ipc, options)
        if options['reference'] and ipc in LOOPS:
            row |= reference_columns(row, options)
        rows.append(row)
        write_rows(options['out'], rows, facts)
        print(text_of(rows))


def text_of(rows: list[dict]) -> str:
    """Return rows as aligned text, numbers with three digits."""
    cells = [COLUMNS]
    for row in rows:
        values = [row.get(column, '') for column in COLUMNS]
        cells.append([f'{v:.3g}' if isinstance(v, float) else str(v) for v in values])
    return aligned(cells)


def write_rows(path: Path, rows: list[dict], facts: dict) -> None:
    """Write rows to path, every one with the facts of the machine and the versions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *facts])
    writer.writeheader()
    writer.writerows(row | facts for row in rows)
    write_atomic(path, text.getvalue().encode())
