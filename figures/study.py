"""Draw every figure of the study from the runs that are cells of its tables, and print the command of each.

python -m figures.study                                    # CIFAR-10, 1 image per class: results/figures
python -m figures.study --figures loss norms --ipc 10 --out figures

A figure whose runs are missing says so in one line, and the others are drawn.
"""

import argparse
import shlex
from dataclasses import dataclass
from pathlib import Path

from figures import clusters, curves, embedding, grid, heatmap, method
from flags import Parser, natural, positive
from report.cells import PLAIN, STUDY, TABLES
from report.summary import collect, merge
from report.tables import matching
from utils import script

BS, STRATIFIED, BS_DSA = (f'{name} (k 20, layer 3)' for name in ('BS', 'BS stratified', 'BS on DSA'))
METHODS = 'DC', 'DSA', BS, BS_DSA
KS = 'DC', *(label for label in TABLES['Number of clusters (layer 3)'] if label.startswith('k '))
LAYERS = 'DC', *TABLES['Layer (k 20)']
CELLS = {label: cell for table in TABLES.values() for label, cell in table.items()}


@dataclass(frozen=True)
class Figure:
    """What module.main draws from the cells of these labels: result files, or the folders of runs."""

    module: object
    cells: tuple[str, ...] = ()
    words: tuple[str, ...] = ()  # its own flags
    takes: str = 'folders'  # or 'files', 'judged' (every set judged again), 'nothing'
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
    'networks': Figure(heatmap, takes='judged'),
    'embedding': Figure(embedding, (*METHODS, STRATIFIED), takes='files', clustered=True),
    'clusters': Figure(clusters, takes='nothing', clustered=True),
    'method': Figure(method, (BS,), takes='files', clustered=True),
}


def inputs(figure: Figure, rows: list[dict], study: dict, folder: Path) -> list[str]:
    """Return what the figure is drawn from: the folders of all runs of its cells, or a result file each."""
    if figure.takes == 'judged':
        same = [row for row in rows if row['dataset'] == study['dataset'] and row['ipc'] == study['ipc']]
        runs = dict.fromkeys(row['run'] for row in same if row['run'].startswith('eval_'))
        return [str(path) for run in runs for path in (folder / run).glob('res_*.pt')]
    paths = []
    for label in figure.cells:
        cells = matching(rows, PLAIN | study | CELLS[label])
        runs = [folder / row['run'] for row in cells]
        paths += [next(run.glob('res_*.pt')) for run in runs[:1]] if figure.takes == 'files' else runs
    return [str(path) for path in paths]


def draw(name: str, paths: list[str], args) -> bool:
    """Print the command of a figure and draw it; return whether it is there."""
    figure = FIGURES[name]
    if not paths and figure.takes != 'nothing':
        needed = ', '.join(figure.cells) or 'sets that main_eval.py judged'
        print(f'{name}: skipped, no finished run at ipc {args.ipc} of {needed}')
        return False
    picture = f'{name}_ipc{args.ipc}.png' if paths else f'{name}.png'
    words = [*figure.words, *paths, '--out', str(args.out / picture)]
    if figure.clustered:
        words += ['--layer_idx', '3']
        flags = ('dataset', 'data_path', 'cluster_path', 'num_cluster', 'class_idx')
        words += [word for flag in flags for word in (f'--{flag}', str(getattr(args, flag)))]
    print(shlex.join(['python', '-m', figure.module.__name__, *words]), flush=True)
    try:
        figure.module.main(words)
    except SystemExit:  # it has said why
        print(f'{name}: skipped')
        return False
    return True


@script
def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--figures', nargs='+', choices=FIGURES, default=FIGURES, metavar='NAME', help=', '.join(FIGURES)
    )
    parser.add_argument(
        '--results', type=Path, default=Path('results'), help='folder of the runs (default: %(default)s)'
    )
    parser.add_argument(
        '--out', type=Path, help='folder of the figures (default: figures/ in that of the runs)'
    )
    for flag in ('dataset', 'model', 'Iteration'):
        parser.add_argument(f'--{flag}', default=STUDY[flag], help='of the runs (default: %(default)s)')
    parser.add_argument('--ipc', default='1', help='of the runs (default: %(default)s)')
    for flag, default in (('data_path', 'data'), ('cluster_path', 'clustering')):
        parser.add_argument(f'--{flag}', default=default, help='for the clusters (default: %(default)s)')
    parser.add_argument(
        '--num_cluster', type=positive, default=20, help='clusters to show (default: %(default)s)'
    )
    parser.add_argument('--class_idx', type=natural, default=8, help='class to show (default: %(default)s)')
    args = parser.parse_args(argv)
    args.out = args.out or args.results / 'figures'
    study = {'dataset': args.dataset, 'model': args.model, 'network': args.model, 'ipc': args.ipc}
    study['Iteration'] = args.Iteration
    rows, _, broken = collect(args.results)
    print(*(f'cannot be read, left out: {line}' for line in broken), sep='\n', end='\n' if broken else '')
    rows = merge([], rows)  # sorted
    drawn = [draw(name, inputs(FIGURES[name], rows, study, args.results), args) for name in args.figures]
    print(f'{sum(drawn)} of {len(drawn)} figures drawn')


if __name__ == '__main__':
    main()
