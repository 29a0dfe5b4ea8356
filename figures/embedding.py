"""Draw one class in the extractor's features by t-SNE: its real images, and the condensed ones of each set.

python -m figures.embedding results/DC_*/res_*.pt results/BS_*/res_*.pt --class_idx 8 --out tsne.png
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE

from data import Data, load
from device import set_up_device
from errors import UserError
from extractor import extractor_path, features_of, load_extractor
from figures.style import colors_of, plt, save
from flags import add_clusters, base_parser, natural, positive
from storage import label_of, load_result
from utils import Arguments, parse, script


def images_of(files: list[Path], data: Data, c: int) -> dict[str, torch.Tensor]:
    """Return {label: images (n, C, H, W)} of class c, all sets of the files of one label together."""
    groups = {}
    for path in files:
        result = load_result(path)
        for images, labels in result['data']:
            if tuple(images.shape[1:]) != data.shape:
                raise UserError(
                    f'{path} holds images {tuple(images.shape[1:])}, but {data.name} has {data.shape}'
                )
            label = label_of(result.get('args', {}))
            groups.setdefault(label, []).append(images[labels == c].float())
    return {label: torch.cat(parts).to(data.device) for label, parts in groups.items()}


def embed(data: Data, sets: dict[str, torch.Tensor], args: Arguments) -> tuple[np.ndarray, list[int]]:
    """Return points (n, 2) of the real images of the class and of all sets, and the number of each."""
    weights = extractor_path(args.cluster_path, data, args.extractor)
    net, _ = load_extractor(weights, data)
    real = data.images(data.indices_class[args.class_idx][: args.num_real])
    parts = [features_of(net, images, args.precision)[args.layer_idx] for images in (real, *sets.values())]
    features = torch.cat(parts).numpy()
    perplexity = min(30, (len(features) - 1) / 3)
    points = TSNE(perplexity=perplexity, random_state=args.seed % 2**32).fit_transform(features)
    return points, [len(part) for part in parts]


def draw(points: np.ndarray, counts: list[int], labels: list[str], title: str, out: Path) -> None:
    """Write the scatter to out: real images as small grey points, each set in the colour of its method."""
    parts = np.split(points, np.cumsum(counts)[:-1])
    figure, axis = plt.subplots(figsize=(5.2, 4.4), layout='constrained')
    axis.scatter(*parts[0].T, s=6, color='0.75', label='real')
    colors = colors_of(labels)
    for number, (label, part) in enumerate(zip(labels, parts[1:], strict=True)):
        style = {'color': colors[label], 'marker': 'o^sDv*X'[number % 7], 'edgecolor': 'black'}
        axis.scatter(*part.T, s=160 * 0.6**number, label=label, **style)  # smaller ones on top
    axis.set(xticks=[], yticks=[])
    axis.set_title(title, fontsize=10)
    axis.spines[:].set_visible(False)
    axis.legend(frameon=False)
    save(figure, out)


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_clusters(parser)
    parser.add_argument('files', nargs='+', type=Path, help='result files')
    parser.add_argument('--class_idx', type=natural, default=0, help='the class (default: %(default)s)')
    parser.add_argument('--num_real', type=positive, default=1000, help='real images (default: %(default)s)')
    parser.add_argument(
        '--out', type=Path, required=True, help='the picture to write (.png, and .pdf beside it)'
    )
    args = parse(parser, argv)
    data = load(args.dataset, args.data_path, args.im_size, set_up_device(args.device, args.precision))
    if args.class_idx >= data.num_classes:
        raise UserError(f'--class_idx {args.class_idx}: {data.name} has classes 0 … {data.num_classes - 1}')
    sets = images_of(args.files, data, args.class_idx)
    points, counts = embed(data, sets, args)
    title = f'{data.name}, class {data.class_names[args.class_idx]}, features of layer {args.layer_idx}'
    draw(points, counts, list(sets), title, args.out)


if __name__ == '__main__':
    main()
