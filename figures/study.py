"""Draw every figure of the study from the runs of its tables, and print the command of each.

    python -m figures.study                # CIFAR-10, 1 image per class: results/figures
    python -m figures.study --figures loss norms --ipc 10 --out figures

A figure whose runs are missing says so in one line, and the others are drawn.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import shlex
from dataclasses import dataclass
from pathlib import Path

from experiment.parser import Parser
from experiment.result import load_result
from experiment.values import natural, place, positive
from figures import clusters, curves, diagram, embedding, grid, heatmap
from report.cells import PLAIN, STUDY, TABLES
from report.pooling import matching
from report.summary import Row, collect, merge_rows, result_in
from storage.files import check_writable
from utils import printable, script

BS, STRATIFIED, BS_DSA = (
    f'{name} (k 20, layer 3)' for name in ('BS', 'BS stratified', 'BS on DSA')
)
METHODS = 'DC', 'DSA', BS, BS_DSA
KS = 'DC', *(label for label in TABLES['Number of clusters (layer 3)'] if label.startswith('k '))
LAYERS = 'DC', *TABLES['Layer (k 20)']
# Of a label in several tables, the first: later ones hold short runs.
CELLS = {label: cell for table in reversed(TABLES.values()) for label, cell in table.items()}


@dataclass(frozen=True)
class Figure:
    """What module.main draws from the cells of these labels: result files, or folders of runs."""

    module: object
    cells: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # its own flags
    takes: str = 'folders'  # or 'files', 'evaluated' (every set evaluated again), 'nothing'
    clustered: bool = False  # takes the flags of clusters


FIGURES = {
    'grid': Figure(grid, METHODS, takes='files'),
    'loss': Figure(curves, (*METHODS, STRATIFIED), ('loss',)),
    'norms': Figure(curves, METHODS, ('norms',)),
    'loss_by_k': Figure(curves, KS, ('loss', '--by', 'num_cluster')),
    'norms_by_k': Figure(curves, KS, ('norms', '--by', 'num_cluster')),
    'loss_by_layer': Figure(curves, LAYERS, ('loss', '--by', 'layer_idx')),
    'norms_by_layer': Figure(curves, LAYERS, ('norms', '--by', 'layer_idx')),
    'accuracy': Figure(curves, METHODS, ('accuracy',)),
    'networks': Figure(heatmap, takes='evaluated'),
    'embedding': Figure(embedding, (*METHODS, STRATIFIED), takes='files', clustered=True),
    'clusters': Figure(clusters, takes='nothing', clustered=True),
    'diagram': Figure(diagram, (BS,), takes='files', clustered=True),
}


def inputs(figure: Figure, rows: list[Row], study: dict, folder: Path) -> list[str]:
    """Return what the figure is drawn from: folders of runs, or result files."""
    if figure.takes == 'evaluated':
        keys = 'dataset', 'ipc'
        same = [row for row in rows if all(row[key] == study[key] for key in keys)]
        files = [result_in(folder / run) for run in dict.fromkeys(row.run for row in same)]
        return [str(path) for path in files if load_result(path)['args'].get('made_by') is not None]
    paths = []
    for label in figure.cells:
        runs = [folder / row.run for row in matching(rows, PLAIN | study | CELLS[label])]
        if figure.takes == 'files':
            runs = [result_in(run) for run in runs[:1]]
        paths += runs
    return [str(path) for path in paths]


def draw_figure(name: str, paths: list[str], args) -> bool:
    """Print the command of a figure and draw it; return whether it is there."""
    figure = FIGURES[name]
    if not paths and figure.takes != 'nothing':
        needed = ', '.join(figure.cells) or 'sets that main_eval.py evaluated'
        print(f'{name}: skipped, no finished run at ipc {args.ipc} of {needed}')
        return False
    picture = f'{name}_ipc{args.ipc}.png' if paths else f'{name}.png'
    words = [*figure.words, *paths, '--out', str(args.out / picture)]
    if figure.clustered:
        words += ['--layer_idx', '3']
        flags = ('dataset', 'data_path', 'cluster_path', 'num_cluster', 'class_idx')
        words += [word for flag in flags for word in (f'--{flag}', str(getattr(args, flag)))]
    line = shlex.join(['python', '-m', figure.module.__name__, *words])
    print(printable(line), flush=True)
    try:
        figure.module.main(words)
    except SystemExit as end:
        if end.code != 2:  # a signal, which is for all figures
            raise
        # It has said why.
        print(f'{name}: skipped')
        return False
    return True


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__)
    names = ', '.join(FIGURES)
    parser.add_argument(
        '--figures', nargs='+', choices=FIGURES, default=FIGURES, metavar='NAME', help=names
    )
    parser.add_argument(
        '--out', type=place, help='folder of the figures (default: within the runs)'
    )
    of_study = [(flag, type(value), value, 'of the runs') for flag, value in STUDY.items()]
    for flag, kind, default, text in (
        ('results', Path, 'results', 'folder of the runs'),
        *(row for row in of_study if row[0] != 'network'),
        ('ipc', positive, 1, 'of the runs'),
        ('data_path', str, 'data', 'for the clusters'),
        ('cluster_path', str, 'clustering', 'for the clusters'),
        ('num_cluster', positive, 20, 'clusters to show'),
        ('class_idx', natural, 8, 'class to show'),
    ):
        parser.add_argument(
            f'--{flag}', type=kind, default=default, help=f'{text} (default: {default})'
        )
    return parser


@script
def main(argv=None):
    """Draw the figures that the command line asks for."""
    args = make_parser().parse_args(argv)
    args.results = Path(args.results)
    args.out = args.out or args.results / 'figures'
    check_writable(args.out / 'any.png', '--out')
    study = {'dataset': args.dataset, 'model': args.model, 'network': args.model, 'ipc': args.ipc}
    study['Iteration'] = args.Iteration
    rows, _, broken = collect(args.results)
    for line in broken:
        print(f'cannot be read, left out: {line}')
    rows, drawn = merge_rows([], rows), 0  # sorted
    for name in args.figures:
        drawn += draw_figure(name, inputs(FIGURES[name], rows, study, args.results), args)
    print(f'{drawn} of {len(args.figures)} figures drawn')


if __name__ == '__main__':
    main()
