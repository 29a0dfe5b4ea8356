"""Draw a table of sets by evaluation networks as a heat map: sets are rows, networks columns.

    python -m figures.heatmap results/eval_*/res_*.pt --out networks.png

The result files are those of main_eval.py --eval_mode M.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np

from experiment.parser import Parser
from experiment.values import place
from figures.style import check_picture, plain, plt, save_figure
from report.cross_architecture import NetworksTable
from utils import UserError, script


def draw_heatmap(table: NetworksTable, out: Path) -> None:
    """Write the heat map to out, with the numbers in its cells."""
    names, networks, means = table.names, table.networks, table.means
    size = 1.6 + 0.95 * len(networks), max(2.4, 1.3 + 0.45 * len(names))  # room for the label
    figure, axis = plt.subplots(figsize=size, layout='constrained')
    image = axis.imshow(means, cmap='cividis', aspect='auto')
    axis.set_xticks(range(len(networks)), map(plain, networks), rotation=30, ha='right')
    axis.set_yticks(range(len(names)), map(plain, names))
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (row, column), value in np.ndenumerate(means):
        if np.isfinite(value):
            color = 'white' if value < middle else 'black'
            axis.text(
                column, row, f'{value:.1f}', ha='center', va='center', color=color, fontsize=9
            )
    figure.colorbar(image, label='test accuracy, %')
    save_figure(figure, out)


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__)
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument(
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parser.parse_args(argv)
    out, table = check_picture(args.out), NetworksTable(args.files)
    if not table.networks:
        raise UserError('no file holds accuracies; evaluate the sets with main_eval.py first')
    draw_heatmap(table, out)


if __name__ == '__main__':
    main()
