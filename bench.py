"""Time and memory of condensing with ConvNet, beside the textbook loop and the public reference.

    python bench.py --ipc 1 10 --method DC                       # 10 minutes on two CPU cores
    python bench.py --reference path/to/DatasetCondensation      # VICO-UoE/DatasetCondensation, cloned

Medians after one warm-up; every contestant runs in a process of its own, as its users would run it.
"""

import argparse
import csv
import io
import platform
from pathlib import Path
from statistics import median

import torch

from benchmark.contestants import reference_modules
from benchmark.measure import QUANTITIES, measure, rates, work_of_a_step
from data import load
from device import fast_precision, set_up_device
from errors import UserError
from flags import Parser, positive
from report.text import aligned
from runfolder import environment
from storage import write_atomic
from utils import LOOPS, script

COLUMNS = (
    'method', 'ipc', 'contestant', 'match', 'inner_epoch', 'judge_epoch', 'test', 'judge_network',
    'iteration', 'peak_memory_mib', 'share_of_matrix_rate', 'share_of_copy_rate', 'first_match',
    'spread_match',
)  # fmt: skip
EPOCHS = {'DC': 301, 'BS': 301, 'DSA': 1001}


def row_of(method: str, ipc: int, name: str, measured: dict, work: tuple, rate: dict) -> dict:
    """Return a row: medians in seconds, shares of the hardware's rates, and what follows from them."""
    row = {'method': method, 'ipc': ipc, 'contestant': name, 'peak_memory_mib': measured['peak_memory_mib']}
    row |= {key: median(measured[key]['seconds']) for key in QUANTITIES if key in measured}
    seconds = measured['match']['seconds']
    row['first_match'] = measured['match']['first']
    row['spread_match'] = f'{min(seconds):.3g}-{max(seconds):.3g}'
    # The others run as they come: convolutions in TF32 where there is such a thing.
    precision = name.split()[1] if name.startswith('ours') else 'tf32'
    row['share_of_matrix_rate'] = work[0] / rate.get(precision, rate['fp32']) / row['match']
    row['share_of_copy_rate'] = work[1] / rate['copy'] / row['match']
    if 'judge_epoch' in row:
        row['judge_network'] = EPOCHS[method] * row['judge_epoch'] + row['test']
    if ipc in LOOPS and 'inner_epoch' in row:
        outer, inner = LOOPS[ipc]
        row['iteration'] = outer * row['match'] + (outer - 1) * inner * row['inner_epoch']
    return row


def table(rows: list[dict]) -> str:
    """Return rows as aligned text, numbers with three digits."""
    cells = [COLUMNS]
    for row in rows:
        values = [row.get(column, '') for column in COLUMNS]
        cells.append([f'{value:.3g}' if isinstance(value, float) else str(value) for value in values])
    return aligned(cells)


def write_csv(path: Path, rows: list[dict], facts: dict) -> None:
    """Write rows to path, every one with the facts of the machine and the versions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, *facts])
    writer.writeheader()
    writer.writerows(row | facts for row in rows)
    write_atomic(path, text.getvalue().encode())


def add_arguments(parser: Parser) -> None:
    """Add the flags of the benchmark."""
    parser.add_argument('--method', nargs='+', default=['DC'], choices=EPOCHS, help='default: DC')
    parser.add_argument('--ipc', nargs='+', type=positive, default=[1, 10, 50], help='default: 1 10 50')
    parser.add_argument(
        '--precision', nargs='+', choices=('fp32', 'tf32', 'bf16'), help='default: the fast one, fp32'
    )
    parser.add_argument(
        '--compile', action=argparse.BooleanOptionalAction, default=True, help='ours compiled'
    )
    parser.add_argument('--textbook', action=argparse.BooleanOptionalAction, default=True, help='time it too')
    parser.add_argument('--reference', type=Path, help='folder of the public reference implementation')
    parser.add_argument('--only_match', action='store_true', help='only the matching step, for its memory')
    parser.add_argument('--repeats', type=positive, default=7, help='default: %(default)s')
    parser.add_argument('--dataset', default='CIFAR10', help='name or path (default: %(default)s)')
    parser.add_argument('--data_path', default='data', help='folder of the data sets (default: %(default)s)')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', type=Path, default='results/bench.csv', help='default: %(default)s')


@script
def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    args = parser.parse_args(argv)
    device = set_up_device(args.device, 'fp32')
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'--out {args.out} cannot be written ({error.strerror})') from error
    data, rate = load(args.dataset, args.data_path, device=device), rates(device)
    if args.reference:
        reference_modules(args.reference)
    names = [
        f'ours {name}' for name in args.precision or dict.fromkeys([fast_precision(args.device), 'fp32'])
    ]
    names += ['textbook'] * args.textbook + ['reference'] * bool(args.reference)
    options = vars(args) | {'quantities': QUANTITIES[:1] if args.only_match else QUANTITIES}
    facts = environment(device) | {'machine': platform.machine()}
    facts |= {'dataset': args.dataset, 'compile': args.compile}
    print('  '.join(f'{key}={value}' for key, value in facts.items()))
    print('  '.join(f'{key}={value:.3g}/s' for key, value in rate.items()))
    rows = []
    for method in args.method:
        for ipc in args.ipc:
            work = work_of_a_step(data, ipc)
            for name in names:
                try:
                    measured = measure(name, method, ipc, options)
                except RuntimeError as error:
                    raise UserError(str(error)) from None
                rows.append(row_of(method, ipc, name, measured, work, rate))
                write_csv(args.out, rows, facts)
                print(table(rows).splitlines()[-1], flush=True)
    print(f'\n{table(rows)}\n{args.out}')


if __name__ == '__main__':
    main()
