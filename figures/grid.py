"""Draw synthetic sets beside each other, a panel a result file, a row a class.

python -m figures.grid results/random_*/res_*.pt results/DC_*/res_*.pt --out digits.png
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np
import torch

from dataset.pictures import tile
from dataset.readers import DATASETS, Source, source_of
from experiment.layouts import as_pixels, hard
from experiment.parser import Parser
from experiment.result import label_of, load_result
from experiment.values import place, positive
from figures.style import check_picture, plain, plt, save_figure
from utils import UserError, printable, script

SIGNS = 30  # of a class's name that are drawn


def known_source(args: dict, dataset: str | None) -> Source | None:
    """Return the row of dataset, else of the data set that args name, None if neither is known."""
    return source_of(dataset or '') or source_of(args.get('dataset') or '')


def viewable(path: Path, result: dict, dataset: str | None) -> torch.Tensor:
    """Return the images of the first set as pixels in [0, 1].

    A file without mean and std was normalised by those of its data set: dataset, or the one that
    it names. If neither is known, black and white are its own least and greatest value.
    """
    images = result['data'][0][0].float()
    channels = images.shape[1]
    if channels not in (1, 3) or not images.isfinite().all():
        raise UserError(
            f'{path}: images {tuple(images.shape[1:])} cannot be shown: they are neither grey nor '
            'colour, or beyond the numbers of float32'
        )

    def statistics():
        source = known_source(result['args'], dataset)
        if source and len(source.mean) == channels:
            return source.mean, source.std
        low, high = float(images.min()), float(images.max())
        span = high - low or 1.0
        print(
            f'{printable(path)} tells neither mean and std nor a known data set: drawn from its '
            f'least value {low:.3g} (black) to its greatest {high:.3g} (white); pass --dataset'
        )
        return [-low / span], [1 / span]

    return as_pixels(result, 0, statistics)[0].clamp(0, 1)


def panel(
    path: Path, result: dict, num: int, dataset: str | None
) -> tuple[np.ndarray, str, list[str]]:
    """Return picture (H, W, 3), title and class names of the first set, num images a class."""
    images, args = viewable(path, result, dataset), result['args']
    labels = hard(result['data'][0][1])
    classes = labels.unique().tolist()
    counts = sorted(int((labels == c).sum()) for c in classes)
    many = '–'.join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    accs = [value for values in result['accs_all_exps'].values() for value in values]
    title = f'{label_of(args)}\n{many} per class' + (
        f'\n{100 * np.mean(accs):.1f} %' if accs else ''
    )
    source = known_source(args, dataset)
    known = dict(enumerate(result.get('class_names') or (source.class_names if source else ())))
    names = [known.get(c, str(c)) for c in classes]
    names = [name if len(name) <= SIGNS else f'{name[: SIGNS - 1]}…' for name in names]
    return tile([images[labels == c][:num] for c in classes]), title, names


def draw_grid(panels: list[tuple[np.ndarray, str, list[str]]]):
    """Return the figure of panels: the picture, title and class names of each."""
    ratios = [picture.shape[1] / picture.shape[0] for picture, _, _ in panels]
    widths = [max(ratio, 0.35) for ratio in ratios]
    # Names of up to ten signs fit beside the narrowest picture.
    signs = max(len(name) for _, _, names in panels for name in names)
    size = 4.2 * sum(widths) + 0.8 + 0.12 * max(signs - 10, 0), 4.6
    figure, axes = plt.subplots(
        1, len(panels), figsize=size, width_ratios=widths, squeeze=False, layout='constrained'
    )
    shown = None
    for axis, (picture, title, names) in zip(axes[0], panels, strict=True):
        axis.imshow(picture, interpolation='nearest')
        height = picture.shape[0] / len(names)
        # Panels of the same classes share the names on the left.
        places = [height * (row + 0.5) for row in range(len(names))]
        axis.set_yticks(places, [] if names == shown else map(plain, names))
        shown = names
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
        axis.set_title('\n'.join(map(plain, title.split('\n'))), fontsize=10)
    return figure


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__)
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument(
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    parser.add_argument(
        '--num', type=positive, default=10, help='images a class (default: %(default)s)'
    )
    parser.add_argument(
        '--dataset', choices=DATASETS, metavar='NAME', help='of files that do not name theirs'
    )
    args = parser.parse_args(argv)
    out = check_picture(args.out)
    panels = [panel(path, load_result(path), args.num, args.dataset) for path in args.files]
    save_figure(draw_grid(panels), out)


if __name__ == '__main__':
    main()
