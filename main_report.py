"""Tables of the finished runs below a folder, and how far the others are.

python main_report.py                              # every run of results/, and results/summary.csv
python main_report.py --out docs/results.md        # and the study's tables, beside published values
python main_report.py --readme README.md           # table 1 in the README
python main_report.py --results results others     # the same runs of two folders, side by side
"""

import argparse
from pathlib import Path

from errors import UserError
from flags import Parser
from report.summary import collect, merge, read, write
from report.tables import MARKS, STUDY, published, results_page, with_numbers
from report.text import aligned
from storage import write_atomic
from utils import script

HEADER = (
    'data', 'ipc', 'method', 'iterations', 'accuracy %', 'sets x networks', 'protocol', 'minutes', 'run',
)  # fmt: skip
PUBLISHED = Path(__file__).parent / 'docs' / 'published.csv'


def cells_of(row: dict) -> tuple[str, ...]:
    """Return what the terminal shows of a row of the summary."""
    num_sets = len(row['set_means'].split())
    return (
        row['dataset'], row['ipc'], row['label'], row['Iteration'] or '-',
        f'{float(row["mean"]):.2f} ± {float(row["std"]):.2f}',
        f'{num_sets} x {int(row["num_networks"]) // num_sets} {row["network"]}',
        f'{row["protocol"]}, {row["epochs"]} epochs',
        f'{float(row["condense_minutes"]) + float(row["judge_minutes"]):.1f}', row['run'],
    )  # fmt: skip


def print_comparison(ours: list[dict], others: list[dict]) -> None:
    """Print the runs that both folders hold, and the difference of their accuracies."""
    known = {(row['run'], row['network']): row for row in others}
    both = [(row, known[key]) for row in ours if (key := (row['run'], row['network'])) in known]
    if not both:
        raise UserError('the two folders have no finished run in common')
    lines = [('run', 'network', 'here', 'there', 'difference')]
    for here, there in both:
        means = float(here['mean']), float(there['mean'])
        cells = (here['run'], here['network'], *(f'{mean:.2f}' for mean in means))
        lines.append((*cells, f'{means[0] - means[1]:+.2f}'))
    print(aligned(lines))


@script
def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--results', nargs='+', type=Path, default=[Path('results')], metavar='FOLDER',
        help='folder of the runs (default: results); two: compare them',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, help='the page to write the tables of the study to')
    parser.add_argument('--readme', type=Path, help='the README whose table 1 to write')
    group = parser.add_argument_group('which runs are cells of the tables')
    for flag, value in STUDY.items():
        if flag != 'network':
            group.add_argument(f'--{flag}', default=value, help='default: %(default)s')
    args = parser.parse_args(argv)
    if args.readme and not (args.readme.is_file() and all(mark in args.readme.read_text() for mark in MARKS)):
        raise UserError(f'--readme {args.readme}: no file with the lines {" and ".join(MARKS)}')
    if len(args.results) > 2:
        raise UserError(f'--results takes one folder, or two to compare, not {len(args.results)}')
    folder = args.results[0]
    rows, unfinished, broken = collect(folder)
    summary = folder / 'summary.csv'
    if not rows + unfinished + broken + read(summary):
        raise UserError(f'{folder} holds no finished run')
    if args.results[1:]:
        print_comparison(rows, collect(args.results[1])[0])
        return
    everything = merge(read(summary), rows)
    write(summary, everything)
    if not rows:
        print(f'{folder} holds no finished run; what {summary} has of others:')
    print(aligned([HEADER, *map(cells_of, merge([], rows) or everything)]))
    for title, lines in (('unfinished', unfinished), ('cannot be read, left out', broken)):
        print(*(f'{title}: {line}' for line in lines), sep='\n', end='\n' if lines else '')
    if unfinished or broken:
        finished = len({row['run'] for row in rows})
        print(f'{finished} finished, {len(unfinished)} unfinished, {len(broken)} unreadable')
    if args.readme:
        text = with_numbers(args.readme.read_text(), everything, published(PUBLISHED))
        write_atomic(args.readme, text.encode())
    if args.out:
        study = {key: getattr(args, key) for key in ('dataset', 'model', 'Iteration')}
        study['network'] = args.model
        write_atomic(args.out, results_page(everything, published(PUBLISHED), study).encode())
        print(args.out)


if __name__ == '__main__':
    main()
