"""Tables of the finished runs below a folder, and how far the others are.

python main_report.py                            # every run of results/, and its summary.csv
python main_report.py --html report.html         # a page to look at: sets, curves, commands
python main_report.py --out docs/results.md      # the study's tables, beside published values
python main_report.py --readme README.md         # the numbers of the README
python main_report.py --results results others   # the same runs of two folders, side by side
python main_report.py --keep results/DC_*        # logs and sets for others, in docs/runs
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

from experiment.flags import FLAGS
from experiment.parser import Parser
from experiment.values import place
from report.cells import STUDY
from report.gaps import HEADER as GAPS
from report.gaps import gap_texts
from report.kept import keep_run, kept_files, kept_page
from report.readme import read_readme, with_numbers
from report.studies import studies
from report.summary import Row, collect, merge_rows
from report.summary_file import read_summary, write_summary
from report.tables import published, results_page
from storage.files import check_writable, write_atomic
from utils import UserError, aligned, printable, script

HEADER = (
    'data', 'ipc', 'method', 'iterations', 'accuracy %', *GAPS, 'sets x networks', 'protocol',
    'minutes', 'run',
)  # fmt: skip
DOCS = Path(__file__).parent / 'docs'
PUBLISHED = DOCS / 'published.csv'
RECORD = DOCS / 'summary.csv'  # every run behind the pages of this project
LEFT_OUT = 'cannot be read, left out'


def cells_of(row: Row, rows: list[Row]) -> tuple[str, ...]:
    """Return what the terminal shows of a row; rows: all that it is compared with."""
    return (
        row['dataset'],
        row.stored,
        row.label,
        '-' if row['Iteration'] is None else str(row['Iteration']),
        row.accuracy,
        *gap_texts(row, rows),
        f'{row.sets_x_networks} {row.network}',
        row.how,
        f'{row.minutes:.1f}',
        row.run,
    )


def runs_table(rows: list[Row]) -> str:
    """Return the table of these rows for the terminal."""
    return aligned([HEADER, *(cells_of(row, rows) for row in rows)])


def print_comparison(ours: list[Row], others: list[Row]) -> None:
    """Print the runs that both folders hold, and the difference of their accuracies."""
    known = {(row.run, row.network): row for row in others}
    both = [(row, known[key]) for row in ours if (key := (row.run, row.network)) in known]
    if not both:
        raise UserError('the two folders have no finished run in common')
    lines = [('run', 'network', 'here', 'there', 'difference')]
    for here, there in both:
        means = f'{here.mean:.2f}', f'{there.mean:.2f}', f'{here.mean - there.mean:+.2f}'
        lines.append((here.run, here.network, *means))
    print(aligned(lines))


def print_runs(rows: list[Row], unfinished: list[str], broken: list[str]) -> None:
    """Print the finished runs, then those that are not, and those that cannot be read."""
    if rows:
        print(runs_table(merge_rows([], rows)))
    for title, lines in (('unfinished', unfinished), (LEFT_OUT, broken)):
        print(*(f'{title}: {line}' for line in lines), sep='\n', end='\n' if lines else '')
    if unfinished or broken:
        finished = len({row.run for row in rows})
        print(f'{finished} finished, {len(unfinished)} unfinished, {len(broken)} unreadable')


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__)
    parser.add_argument(
        '--results', nargs='+', type=place, default=[Path('results')], metavar='FOLDER',
        help='folder of the runs (default: results); two: compare them',
    )  # fmt: skip
    parser.add_argument('--out', type=place, help='the page to write the tables of the study to')
    parser.add_argument(
        '--html', type=place, help='the page to look at, of all runs (alone: no summary.csv)'
    )
    parser.add_argument(
        '--readme', type=place, nargs='+', default=[], help='READMEs whose numbers to write'
    )
    parser.add_argument(
        '--keep', type=place, nargs='+', metavar='RUN', help='finished runs to copy to docs/runs'
    )
    group = parser.add_argument_group('which runs are cells of the tables')
    for flag, value in STUDY.items():
        if flag != 'network':
            group.add_argument(
                f'--{flag}', default=value, type=FLAGS[flag].type, help=f'default: {value}'
            )
    return parser


def check_flags(args, typed: set[str]) -> None:
    """Raise UserError for a page that cannot be written, and typed flags that do nothing."""
    if len(args.results) > 2:
        raise UserError(f'--results takes one folder, or two to compare, not {len(args.results)}')
    useless = [
        (typed - {'keep'}, args.keep, 'with --keep, which copies runs'),
        (typed - {'results'}, args.results[1:], 'with two folders, which are compared'),
        (typed & STUDY.keys(), not args.out, 'without --out, the page of the study'),
    ]
    for flags, holds, why in useless:
        if holds and flags:
            raise UserError(f'--{min(flags)} does nothing {why}: leave it out')
    for flag in ('out', 'html'):
        if getattr(args, flag):
            check_writable(getattr(args, flag), f'--{flag}', '.md' if flag == 'out' else '.html')


def compare(folders: list[Path]) -> None:
    """Print the comparison of two folders of runs, and what cannot be read of them."""
    (ours, _, broken), (others, _, also_broken) = map(collect, folders)
    for line in broken + also_broken:
        print(f'{LEFT_OUT}: {line}')
    print_comparison(ours, others)


def pages(args, readmes: dict[Path, str], rows: list[Row]) -> dict[Path, str]:
    """Return {path: content} of READMEs with their numbers, and of the page of tables."""
    papers = published(PUBLISHED)
    texts = {path: with_numbers(text, rows, papers) for path, text in readmes.items()}
    if args.out:
        study = {key: getattr(args, key) for key in ('dataset', 'model', 'Iteration')}
        texts[args.out] = results_page(rows, papers, study | {'network': args.model})
    return texts


def keep(runs: list[Path], out: Path) -> None:
    """Copy finished runs to the folder out, and write its table."""
    # All is checked before anything is written. The table has no line for what is damaged.
    damaged = collect(out)[2] if out.is_dir() else []
    if damaged:
        raise UserError(f'{damaged[0]}; it is one of the kept runs, so their table is not written')
    for run in runs:
        kept_files(run, out)
    for run in runs:
        print(printable(keep_run(run, out)))
    rows = collect(out)[0]
    write_atomic(out / 'README.md', kept_page(out, merge_rows([], rows)).encode())


def report(args, readmes: dict[Path, str]) -> None:
    """Print the runs of a folder, and write what is asked for and the summary."""
    folder = args.results[0]
    rows, unfinished, broken = collect(folder)
    for flag, path in (('out', args.out), ('html', args.html)):
        if path and not path.parent.is_dir():
            raise UserError(f'--{flag} {path}: {path.parent} is no folder to write a file in')
    # What can be read is shown first: the summary may be damaged, or its folder read-only.
    print_runs(rows, unfinished, broken)
    found = studies(folder)
    for name, lines in found.items():
        print('', f'study {name}', *lines, sep='\n')
    everything = merge_rows(read_summary(folder / 'summary.csv'), rows)
    own = everything
    if any(path.resolve().parent in (DOCS, DOCS.parent) for path in (*readmes, args.out) if path):
        everything = merge_rows(read_summary(RECORD), rows)  # the pages of this project
    if not rows + unfinished + broken + everything and not found:
        raise UserError(f'{folder} holds no finished run')
    if everything and not rows:
        print(f'{folder} holds no finished run; what {folder}/summary.csv has of others:')
        print(runs_table(everything))
    if args.html:
        # Only here: Matplotlib takes a second to load.
        from figures.page import page

        text = page(folder, own, rows, unfinished, broken, found)
        write_atomic(args.html, text.encode('utf-8', 'backslashreplace'))
        print(args.html)
    for path, text in pages(args, readmes, everything).items():
        write_atomic(path, text.encode('utf-8', 'backslashreplace'))
        print(path)
    # Who only looks at runs leaves their folder as it is.
    if everything and (not args.html or args.out or readmes):
        write_summary(folder / 'summary.csv', own)
        if everything is not own:
            write_summary(RECORD, everything)


@script
def main(argv=None):
    """Print and write the tables that the command line asks for."""
    parser = make_parser()
    args = parser.parse_args(argv)
    check_flags(args, parser.typed(argv))
    readmes = {path: read_readme(path) for path in args.readme}
    if args.keep:
        keep(args.keep, DOCS / 'runs')
    elif args.results[1:]:
        compare(args.results)
    else:
        report(args, readmes)


if __name__ == '__main__':
    main()
