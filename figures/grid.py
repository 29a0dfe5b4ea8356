"""Draw synthetic sets beside each other, a panel a result file, a row a class.

python -m figures.grid results/random_*/res_*.pt results/DC_*/res_*.pt --out digits.png
"""

import experiment.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np
import torch

from dataset.readers import DATASETS
from experiment.flags import Parser, positive
from experiment.result import label_of, load_result
from figures.style import plt, save_figure, tile
from utils import UserError, script


def panel(result: dict, num: int) -> tuple[np.ndarray, str, list[str]]:
    """Return picture (H, W, 3), title and class names of the first set, num images a class."""
    images, labels = result['data'][0]
    if images.shape[1] not in (1, 3):
        raise UserError(
            f'a set of images {tuple(images.shape[1:])} cannot be shown: neither grey nor colour'
        )
    mean = torch.tensor(result.get('mean', [0.5])).view(1, -1, 1, 1)
    std = torch.tensor(result.get('std', [0.25])).view(1, -1, 1, 1)
    images = (images * std + mean).clamp(0, 1)
    rows = [images[labels == c][:num] for c in labels.unique()]
    args = result['args']
    accs = [value for values in result['accs_all_exps'].values() for value in values]
    title = f'{label_of(args)}, {len(labels) // len(rows)} per class' + (
        f': {100 * np.mean(accs):.1f} %' if accs else ''
    )
    source = DATASETS.get(args.get('dataset'))
    names = (
        list(source.class_names)
        if source and source.class_names
        else [str(int(c)) for c in labels.unique()]
    )
    return tile(rows), title, names


def draw_grid(results: list[dict], out: Path, num: int) -> None:
    """Write the panels of results to out."""
    panels = [panel(result, num) for result in results]
    ratios = [picture.shape[1] / picture.shape[0] for picture, _, _ in panels]
    widths = [max(ratio, 0.35) for ratio in ratios]
    size = 4.2 * sum(widths) + 0.8, 4.6
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, width_ratios=widths, squeeze=False, layout='constrained'
    )
    for axis, (picture, title, names) in zip(axes[0], panels, strict=True):
        axis.imshow(picture, interpolation='nearest')
        height = picture.shape[0] / len(names)
        axis.set_yticks(
            [height * (row + 0.5) for row in range(len(names))], names if axis is axes[0, 0] else []
        )
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title(title.replace(', ', '\n', 1).replace(': ', '\n'), fontsize=10)
    save_figure(figure, out)


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__)
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument(
        '--out', type=Path, required=True, help='the picture to write (.png or .pdf)'
    )
    parser.add_argument(
        '--num', type=positive, default=10, help='images a class (default: %(default)s)'
    )
    args = parser.parse_args(argv)
    draw_grid([load_result(path) for path in args.files], args.out, args.num)


if __name__ == '__main__':
    main()
