"""Draw how batch sampling works, with the real clusters of a class and a condensed image of it.

    python -m figures.diagram results/demo/BS_*/res_*.pt --dataset Digits --num_cluster 5 \\
        --out diagram.png
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch
from sklearn.decomposition import PCA

from dataset.data import Data
from dataset.pictures import tile
from evaluation.sets import read_sets
from experiment.arguments import parse
from experiment.data import load_data
from experiment.flags import CLUSTERS, COMPUTE, DATA
from experiment.layouts import hard
from experiment.parser import Parser
from experiment.values import natural, place
from figures.clusters import check_features, clusters_of
from figures.style import check_picture, plt, save_figure
from utils import UserError, script

CHOSEN, OTHERS = 'tab:orange', '0.6'


class Sheet:
    """A page of pictures, boxes and arrows, placed in inches from the lower left corner."""

    def __init__(self, width: float, height: float):
        self.figure = plt.figure(figsize=(width, height))
        self.page = self.figure.add_axes([0, 0, 1, 1])
        self.page.set(xlim=(0, width), ylim=(0, height))
        self.page.axis('off')
        self.size = width, height

    def axes(self, x, y, width, height, title=''):
        """Add axes without ticks, its title below it."""
        axis = self.figure.add_axes(
            [x / self.size[0], y / self.size[1], width / self.size[0], height / self.size[1]]
        )
        axis.set(xticks=[], yticks=[])
        self.text(x + width / 2, y - 0.08, title, va='top')
        return axis

    def picture(self, x, y, side, pixels, title):
        """Add a square picture (H, W, 3), its title below it."""
        axis = self.axes(x, y, side, side, title)
        axis.imshow(pixels, interpolation='nearest')
        axis.spines[:].set_visible(False)

    def text(self, x, y, words, **style):
        """Write words, centred at x."""
        self.page.text(x, y, words, **{'ha': 'center', 'fontsize': 9} | style)

    def box(self, x, y, words, color='0.95'):
        """Write words in a round box, centred at x, y."""
        style = {'boxstyle': 'round,pad=0.5', 'facecolor': color, 'edgecolor': '0.4'}
        self.text(x, y, words, va='center', bbox=style)

    def arrow(self, start, end, bend=0.0, **style):
        """Draw an arrow between two points (x, y)."""
        style = {'color': '0.3', 'arrowstyle': '-|>', 'mutation_scale': 14} | style
        self.page.add_patch(
            FancyArrowPatch(start, end, connectionstyle=f'arc3,rad={bend}', **style)
        )


def draw_step(sheet: Sheet, image_syn: torch.Tensor) -> None:
    """Draw the lower half: one matching step on image_syn (1, C, H, W)."""
    sheet.page.axhline(2.5, 0.01, 0.99, color='0.8', linewidth=0.8)
    sheet.text(0.15, 2.22, 'each step, class by class', ha='left', weight='bold')
    sheet.picture(0.3, 0.5, 1.3, tile([image_syn]), 'synthetic images')
    sheet.box(3.2, 1.15, r'network $\theta$')
    words = r'distance of gradients' '\n' r'$D(\nabla_\theta\ell_{syn},\ \nabla_\theta\ell_{real})$'
    sheet.box(5.4, 1.15, words, '#fff3e0')
    sheet.box(8.2, 1.15, r'network $\theta$')
    sheet.arrow((1.7, 1.15), (2.65, 1.15))
    sheet.arrow((3.75, 1.15), (4.3, 1.15))
    sheet.arrow((9.35, 2.7), (8.7, 1.4), bend=-0.25, color=CHOSEN)
    sheet.arrow((7.65, 1.15), (6.55, 1.15))
    sheet.arrow((5.4, 0.75), (1.65, 0.6), bend=-0.2, linestyle='--')
    sheet.text(3.6, 0.06, 'one step of SGD on the images')


def draw_diagram(
    data: Data, members: list[list[int]], features: np.ndarray, image_syn: torch.Tensor, out: Path
):
    """Write the sheet to out.

    features: (N, D) in the order of the members; image_syn: (1, C, H, W) in [0, 1].
    """
    chosen = max(range(len(members)), key=lambda j: len(members[j]))
    everything = torch.tensor([i for part in members for i in part], device=data.device)

    def real(index):
        return data.pixels(index).float().cpu() / 255

    sheet = Sheet(10.6, 5.0)
    sheet.text(0.15, 4.72, 'once, for every class', ha='left', weight='bold')
    some = everything[:: max(1, len(everything) // 36)][:36]
    sheet.picture(0.2, 3.0, 1.5, tile(real(some).split(6)), 'all images of a class')
    sheet.box(3.2, 3.75, 'ResNet18, trained on the data set\nblock $l$, average pooled')
    scatter = sheet.axes(4.9, 3.0, 2.1, 1.5, 'features, $k$ clusters by K-Means')
    points, start = PCA(2, random_state=0).fit_transform(features), 0
    for j, part in enumerate(members):
        some, start = points[start : start + len(part)], start + len(part)
        color = CHOSEN if j == chosen else plt.cm.Greys(0.35 + 0.12 * (j % 5))
        scatter.scatter(*some.T, s=6, zorder=1 + (j == chosen), color=color)
    sheet.arrow((1.75, 3.75), (1.95, 3.75))
    sheet.arrow((4.5, 3.75), (4.85, 3.75))
    sheet.arrow((7.05, 3.75), (8.5, 3.75), color=CHOSEN)
    sheet.text(7.75, 3.85, 'draw one cluster', color=CHOSEN)
    batch = torch.tensor(members[chosen][:16], device=data.device)
    sheet.picture(8.6, 3.0, 1.5, tile(real(batch).split(4)), 'real batch: its members')

    draw_step(sheet, image_syn)
    save_figure(sheet.figure, out)


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__, (*DATA, *CLUSTERS, *COMPUTE))
    parser.add_argument(
        'file', type=Path, help='a result file: where the synthetic image comes from'
    )
    parser.add_argument(
        '--class_idx', type=natural, default=0, help='the class (default: %(default)s)'
    )
    parser.add_argument(
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parse(parser, argv)
    out = check_picture(args.out)
    data = load_data(args)
    ((images, labels),) = read_sets(args.file, data, most=1).pairs
    images = images[hard(labels) == args.class_idx]
    if not len(images):
        raise UserError(f'{args.file} holds no image of class {args.class_idx}')
    members, features = clusters_of(data, args)
    check_features(features)
    draw_diagram(data, members, features, data.viewable(images[:1]), out)


if __name__ == '__main__':
    main()
