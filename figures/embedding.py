"""Draw one class in the extractor's features by t-SNE: real images, and those of each set.

python -m figures.embedding results/DC_*/res_*.pt results/BS_*/res_*.pt --out tsne.png
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np
import torch

from dataset.data import Data
from evaluation.sets import read_sets
from experiment.arguments import Arguments, parse
from experiment.data import load_data
from experiment.flags import CLUSTERS, COMPUTE, DATA
from experiment.layouts import hard
from experiment.parser import Parser
from experiment.result import label_of, load_result
from experiment.values import natural, place, positive
from features.extractor import extractor_path, features_of, load_extractor
from figures.clusters import neighbours
from figures.style import check_picture, colors_of, plain, plt, save_figure
from utils import UserError, script


def images_of(files: list[Path], data: Data, c: int) -> dict[str, torch.Tensor]:
    """Return {label: images (n, C, H, W)} of class c, all sets of files of one label together."""
    if c >= data.num_classes:
        raise UserError(f'--class_idx {c}: {data.name} has classes 0 … {data.num_classes - 1}')
    groups = {}
    for path in files:
        result = load_result(path)
        for images, labels in read_sets(path, data, result=result).pairs:
            chosen = images[hard(labels) == c]
            if not len(chosen):
                raise UserError(f'{path} holds no image of class {c}; choose another --class_idx')
            groups.setdefault(label_of(result['args']), []).append(chosen)
    return {label: torch.cat(parts) for label, parts in groups.items()}


def points_of(
    data: Data, sets: dict[str, torch.Tensor], args: Arguments
) -> tuple[np.ndarray, list[int]]:
    """Return points (n, 2) of the class's real images, then of all sets, and the number of each."""
    weights = extractor_path(args.cluster_path, data, args.extractor)
    net, _ = load_extractor(weights, data)
    real = data.images(data.indices_class[args.class_idx][: args.num_real])
    parts = [
        features_of(net, images, args.precision)[args.layer_idx]
        for images in (real, *sets.values())
    ]
    return neighbours(torch.cat(parts), args.seed), [len(part) for part in parts]


def draw_embedding(
    points: np.ndarray, counts: list[int], labels: list[str], title: str, out: Path
) -> None:
    """Write the scatter to out: real images in grey, each set in the colour of its method."""
    parts = np.split(points, np.cumsum(counts)[:-1])
    figure, axis = plt.subplots(figsize=(5.2, 4.4), layout='constrained')
    axis.scatter(*parts[0].T, s=6, color='0.75', label='real')
    colors = colors_of(labels)
    for number, (label, part) in enumerate(zip(labels, parts[1:], strict=True)):
        style = {'color': colors[label], 'marker': 'o^sDv*X'[number % 7], 'edgecolor': 'black'}
        axis.scatter(
            *part.T, s=160 * 0.6**number, label=plain(label), **style
        )  # smaller ones on top
    axis.set(xticks=[], yticks=[])
    axis.set_title(plain(title), fontsize=10)
    axis.spines[:].set_visible(False)
    axis.legend(frameon=False)
    save_figure(figure, out)


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__, (*DATA, *CLUSTERS, *COMPUTE))
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument(
        '--class_idx', type=natural, default=0, help='the class (default: %(default)s)'
    )
    parser.add_argument(
        '--num_real', type=positive, default=1000, help='real images (default: %(default)s)'
    )
    parser.add_argument(
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parse(parser, argv)
    out = check_picture(args.out)
    data = load_data(args)
    sets = images_of(args.files, data, args.class_idx)
    points, counts = points_of(data, sets, args)
    name = data.class_names[args.class_idx]
    title = f'{data.name}, class {name}, features of layer {args.layer_idx}'
    draw_embedding(points, counts, list(sets), title, out)


if __name__ == '__main__':
    main()
