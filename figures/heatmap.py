"""Draw a table of sets by judging networks as a heat map: rows are result files, columns networks.

python -m figures.heatmap results/eval_*/res_*.pt --out networks.png   # of main_eval.py --eval_mode M
"""

import argparse
from pathlib import Path

import numpy as np

from figures.style import plt, save
from flags import Parser
from storage import label_of, load_result
from utils import script


def table(files: list[Path]) -> tuple[list[str], list[str], np.ndarray]:
    """Return row names, network names, and mean accuracies in % (rows, networks), nan where there is none.

    Files that judge the same set by other networks share a row.
    """
    rows = {}
    for path in files:
        result = load_result(path)
        args = result.get('args', {})
        name = f'{label_of(args)}, {args.get("ipc", "?")} per class'
        row = rows.setdefault(name, {})
        for network, values in result['accs_all_exps'].items():
            row.setdefault(network, []).extend(values)
    networks = list(dict.fromkeys(network for row in rows.values() for network in row))
    means = [
        [100 * np.mean(row[network]) if network in row else np.nan for network in networks]
        for row in rows.values()
    ]
    return list(rows), networks, np.array(means)


def draw(names: list[str], networks: list[str], means: np.ndarray, out: Path) -> None:
    """Write the heat map to out, with the numbers in its cells."""
    size = (1.6 + 0.95 * len(networks), 1.3 + 0.45 * len(names))
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
    parser.add_argument('--out', type=Path, required=True, help='the picture to write (.png, .pdf or .svg)')
    args = parser.parse_args(argv)
    draw(*table(args.files), args.out)


if __name__ == '__main__':
    main()
