"""Draw the clusters of one class: its real images, a row a cluster, and the t-SNE of its features.

python -m figures.clusters --dataset Digits --layer_idx 3 --num_cluster 5 --out clusters.png
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE

from dataset.data import Data
from dataset.pictures import tile
from experiment.arguments import Arguments, parse
from experiment.data import load_data
from experiment.flags import CLUSTERS, COMPUTE, DATA
from experiment.parser import Parser
from experiment.values import natural, place
from features.clusters import cluster_path, read_clusters
from features.extractor import extractor_path, layer_features, load_extractor
from figures.style import check_picture, plain, plt, save_figure
from storage.files import file_hash
from utils import UserError, script

PER_ROW, MAX_ROWS = 12, 10


def montage(data: Data, members: list[list[int]]) -> np.ndarray:
    """Return (H, W, 3): the images of each cluster nearest to its centre, a row a cluster."""
    chosen = [torch.tensor(part[:PER_ROW], device=data.device) for part in members[:MAX_ROWS]]
    return tile([data.pixels(index).float().cpu() / 255 for index in chosen])


def check_features(features: torch.Tensor) -> None:
    """Raise UserError for features (N, D) whose points cannot be drawn."""
    if len(features) < 3:
        raise UserError(f'a scatter of {len(features)} images shows nothing; choose another class')
    if not features.isfinite().all():
        raise UserError('features are not finite: images or the extractor have diverged')


def neighbours(features: torch.Tensor, seed: int) -> np.ndarray:
    """Return points (N, 2) of features (N, D) by t-SNE."""
    check_features(features)
    perplexity = min(30, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed % 2**32).fit_transform(features.numpy())


def draw_clusters(
    data: Data, members: list[list[int]], features: torch.Tensor, title: str, out: Path, seed: int
) -> None:
    """Write both panels to out; features (N, D) are in the order of the members."""
    points = neighbours(features, seed)
    label = torch.cat([torch.full((len(part),), j) for j, part in enumerate(members)])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.8), layout='constrained')
    picture, shown = montage(data, members), range(min(len(members), MAX_ROWS))
    left.imshow(picture, interpolation='nearest')
    height = len(picture) / len(shown)
    left.set_yticks(
        [height * (j + 0.5) for j in shown], [f'{j} ({len(members[j])})' for j in shown]
    )
    left.set_ylabel('cluster (members)')
    left.set_title(f'{plain(title)}: images nearest to each centre', fontsize=10)
    right.scatter(*points.T, c=label, cmap='tab20', s=8)
    right.set_title('t-SNE of the features, coloured by cluster', fontsize=10)
    right.set_yticks([])
    for axis in (left, right):
        axis.set_xticks([])
        axis.tick_params(length=0)
        axis.spines[:].set_visible(False)
    save_figure(figure, out)


def clusters_of(data: Data, args: Arguments) -> tuple[list[list[int]], torch.Tensor]:
    """Return the clusters of the class that the flags name, and their members' features (N, D)."""
    if args.class_idx >= data.num_classes:
        raise UserError(
            f'--class_idx {args.class_idx}: {data.name} has classes 0 … {data.num_classes - 1}'
        )
    weights = extractor_path(args.cluster_path, data, args.extractor)
    net, _ = load_extractor(weights, data)
    path = cluster_path(args.cluster_path, data, args.num_cluster, args.layer_idx, args.norm)
    wanted = {'k': args.num_cluster, 'layer': args.layer_idx, 'norm': args.norm}
    of_class = read_clusters(path, data, file_hash(weights), wanted)[args.class_idx]
    members = [part for part in of_class.values() if part]
    index = torch.tensor([i for part in members for i in part], device=data.device)
    return members, layer_features(net, data, args.precision, index)[args.layer_idx]


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__, (*DATA, *CLUSTERS, *COMPUTE))
    parser.add_argument(
        '--class_idx', type=natural, default=0, help='the class (default: %(default)s)'
    )
    parser.add_argument(
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parse(parser, argv)
    out = check_picture(args.out)
    data = load_data(args)
    members, features = clusters_of(data, args)
    title = f'{data.name}, class {data.class_names[args.class_idx]}, layer {args.layer_idx}'
    draw_clusters(data, members, features, title, out, args.seed)


if __name__ == '__main__':
    main()
