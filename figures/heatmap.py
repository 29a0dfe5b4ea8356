"""Draw a table of sets by judging networks as a heat map: rows are result files, columns networks.

python -m figures.heatmap results/eval_*/res_*.pt --out networks.png   # of main_eval.py --eval_mode M
"""

import argparse
from pathlib import Path

import numpy as np

from figures.style import plt, save
from flags import Parser
from report.networks import NetworksTable
from utils import script


def draw(table: NetworksTable, out: Path) -> None:
    """Write the heat map to out, with the numbers in its cells."""
    names, networks, means = table.names, table.networks, table.means
    size = (1.6 + 0.95 * len(networks), max(2.4, 1.3 + 0.45 * len(names)))  # high enough for the label
    figure, axis = plt.subplots(figsize=size, layout='constrained')
    image = axis.imshow(means, cmap='cividis', aspect='auto')
    axis.set_xticks(range(len(networks)), networks, rotation=30, ha='right')
    axis.set_yticks(range(len(names)), names)
    middle = (np.nanmin(means) + np.nanmax(means)) / 2
    for (row, column), value in np.ndenumerate(means):
        if np.isfinite(value):
            color = 'white' if value < middle else 'black'
            axis.text(column, row, f'{value:.1f}', ha='center', va='center', color=color, fontsize=9)
    figure.colorbar(image, label='test accuracy, %')
    save(figure, out)


@script
def main(argv=None):
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument(
        '--out', type=Path, required=True, help='the picture to write (.png, and .pdf beside it)'
    )
    args = parser.parse_args(argv)
    draw(NetworksTable(args.files), args.out)


if __name__ == '__main__':
    main()
