"""How far the gradient of a batch is from the gradient of its class: draws by batch size.

    python -m figures.gradient_error --feature_net PCA --out gradient_error.png      # 22 minutes
    python -m figures.gradient_error --clusters docs/clusters/*.pt --out by_clusters.png

Nothing is condensed. Error: ‖g(batch) − g(class)‖² / ‖g(class)‖² over all weights, at a network as
it is drawn, and after 50 epochs on 10 real images per class. Clusters are plain K-Means. With
--clusters, batches of one cluster of each file are compared with uniform ones.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from dataset.data import Data
from engine.gradients import Gradients
from engine.training import TrainStep, train_epoch
from engine.trial import check_network
from experiment.arguments import Arguments, parse
from experiment.data import load_data
from experiment.flags import COMPUTE, DATA
from experiment.parser import Parser
from experiment.values import place, positive
from features.clusters import facts_of, read_clusters
from features.named import ensure_named_clusters
from figures.style import check_picture, colors_of, plain, plt, save_figure
from methods.initial import initial_images, initial_labels
from methods.sampling import ClusterSampler, UniformSampler
from networks import Network, network_for
from report.markup import csv_of
from storage.files import check_writable, write_atomic
from utils import Rng, UserError, script

SIZES = (8, 16, 32, 64, 128, 256)
FEW = 20  # clusters of the study
IPC, EPOCHS, LR = 10, 50, 0.01  # of the training of a network, as DC's first inner loop at ipc 10
STATES = ('as drawn', 'trained')
COLUMNS = ('network', 'draw', 'batch', 'error', 'cosine', 'std', 'draws')


def samplers(data: Data, args: Arguments) -> dict[str, dict]:
    """Return {name of a draw: {batch size: sampler}}; clusters that are missing are made.

    With args.clusters: uniform batches, and those of one cluster of each file. Raises UserError if
    a class has too few images.
    """
    counts = [len(members) for members in data.indices_class]
    smallest = min(counts)
    if smallest < IPC:
        name = data.class_names[counts.index(smallest)]
        raise UserError(f'the figure needs {IPC} images of every class; {name!r} has {smallest}')
    sizes = [size for size in SIZES if size < smallest]  # a whole class has no error
    uniform = {'uniform': dict.fromkeys(sizes, UniformSampler(data))}
    if args.clusters:
        files = samplers_of_files(data, args.clusters)
        return uniform | {name: dict.fromkeys(sizes, sampler) for name, sampler in files.items()}

    def clustered(k, draw):
        clusters = ensure_named_clusters(
            data, args.cluster_path, args.feature_net, k, balanced=False, lr_net=LR,
            batch_train=256, seed=args.seed, precision=args.precision,
        )  # fmt: skip
        return ClusterSampler(data, clusters, draw)

    few = {draw: clustered(FEW, draw) for draw in ('cluster', 'stratified')}
    return {
        **uniform,
        f'one of {FEW} clusters (BS)': dict.fromkeys(sizes, few['cluster']),
        f'stratified, k {FEW}': dict.fromkeys(sizes, few['stratified']),
        'stratified, k = batch': {size: clustered(size, 'stratified') for size in sizes},
        'centroid, k = batch': {size: clustered(size, 'centroid') for size in sizes},
    }


def samplers_of_files(data: Data, paths: list[Path]) -> dict[str, ClusterSampler]:
    """Return {label of a cluster file: its draw of one cluster}; raise UserError if two agree."""
    found = {}
    for path in paths:
        clusters, name = read_clusters(path, data), cluster_label(path)
        if name in {'uniform', *found}:
            raise UserError(
                f'--clusters {path}: there is another {name} in the figure; leave one of them out, '
                'or rename the file'
            )
        found[name] = ClusterSampler(data, clusters, 'cluster')
    return found


def cluster_label(path: Path) -> str:
    """Return features, number and kind of a file's clusters; its name if it does not say them."""
    facts = facts_of(path)
    if not facts:  # a file of the original
        return path.stem
    features = f'layer {facts["layer"]}' if isinstance(facts['layer'], int) else facts['layer']
    return f'{features}, k {facts["k"]}' + ('' if facts['norm'] else ', plain')


def trained(net: Network, data: Data, rng: Rng) -> None:
    """Train net on a few real images, as a network between two matching steps is."""
    images, labels = initial_images(data, IPC, 'real', rng), initial_labels(data, IPC)
    step = TrainStep(net, torch.optim.SGD(net.parameters(), LR))
    for _ in range(EPOCHS):
        train_epoch(step, images, labels, 256, rng)


def gradient(passes: Gradients, data: Data, index: torch.Tensor, c: int) -> torch.Tensor:
    """Return the gradient of the images at index, all of class c, as one vector."""
    # Chunk after chunk, so that a whole class needs no more memory than a batch.
    parts = index.split(1000)
    grads = [passes.of_weights(data.images(part), c, 'fp32')[0] for part in parts]
    weights = [len(part) / len(index) for part in parts]
    return sum(
        weight * torch.cat([grad.flatten() for grad in one])
        for weight, one in zip(weights, grads, strict=True)
    )


def errors(
    passes: Gradients, data: Data, draws: dict[str, dict], args: Arguments, rng: Rng
) -> Iterator[tuple[str, int, list[tuple[float, float]]]]:
    """Yield (draw, batch size, [(error, cosine) of every class and repetition])."""
    classes = range(min(args.classes, data.num_classes))
    whole = {c: gradient(passes, data, data.indices_class[c], c) for c in classes}
    for name, by_size in draws.items():
        # The images nearest to the centres are the same at every draw.
        repeats = 1 if name.startswith('centroid') else args.repeats
        for size, sampler in by_size.items():
            pairs = []
            for c in classes:
                for _ in range(repeats):
                    batch = gradient(passes, data, sampler.draw(c, size, rng), c)
                    error = (batch - whole[c]).square().sum() / whole[c].square().sum()
                    cosine = torch.cosine_similarity(batch, whole[c], dim=0)
                    pairs.append((float(error), float(cosine)))
            yield name, size, pairs


def measure(data: Data, args: Arguments) -> list[tuple]:
    """Return a row of COLUMNS for every network, draw and batch size."""
    rows, draws = [], samplers(data, args)
    for state in STATES:
        rng = Rng(data.device, args.seed, 'gradient error')
        net = network_for(args.model, data, rng.generator)
        if state == 'trained':
            trained(net, data, rng)
        passes = Gradients(net, 1000, data.shape[1] * data.shape[2], compile=False)
        for name, size, pairs in errors(passes, data, draws, args, rng):
            mean, std = np.mean(pairs, 0), np.std(pairs, 0)
            rows.append((state, name, size, mean[0], mean[1], std[0], len(pairs)))
            print(f'{state:9}  {name:26} {size:4}  error {mean[0]:.4f}  cosine {mean[1]:.4f}')
    return rows


def draw_errors(rows: list[tuple], title: str, out: Path) -> None:
    """Write the figure: error over batch size, a panel a network."""
    figure, axes = plt.subplots(1, 2, figsize=(8.4, 3.6), sharey=True, layout='constrained')
    names = list(dict.fromkeys(row[1] for row in rows))
    colors = colors_of(names)
    for axis, state in zip(axes, STATES, strict=True):
        for name in names:
            points = [(row[2], row[3]) for row in rows if row[:2] == (state, name)]
            axis.plot(*zip(*points, strict=True), 'o-', ms=4, color=colors[name], label=plain(name))
        axis.set(xscale='log', yscale='log', xlabel='batch size', title=f'network {state}')
        axis.set_xticks(SIZES, map(str, SIZES), minor=False)
        axis.minorticks_off()
        axis.spines[['top', 'right']].set_visible(False)
    axes[0].set_ylabel('relative squared error of the gradient')
    axes[1].legend(frameon=False, fontsize=8)
    figure.suptitle(plain(title), fontsize=10)
    save_figure(figure, out)


def write_rows(rows: list[tuple], path: Path) -> None:
    """Write the rows as CSV."""
    lines = ([f'{cell:.5g}' if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_atomic(path, csv_of([COLUMNS, *lines]))


def check_out(out: Path) -> tuple[Path, Path]:
    """Return the picture and the file of its numbers; raise UserError if one cannot be written."""
    picture, numbers = check_picture(out), out.with_suffix('.csv')
    check_writable(numbers, '--out')
    if numbers.exists() and not numbers.read_bytes().startswith(csv_of([COLUMNS])):
        raise UserError(f'--out {out}: {numbers} holds something else; name another picture')
    if not out.parent.is_dir():
        raise UserError(f'--out {out}: no such folder to write a file in')
    return picture, numbers


@script
def main(argv=None):
    """Measure, and write the figure and its numbers beside it."""
    parser = Parser(__doc__, (*DATA, *COMPUTE, 'model', 'cluster_path', 'feature_net'))
    parser.add_argument('--classes', type=positive, default=4, help='how many (default: 4)')
    parser.add_argument('--repeats', type=positive, default=4, help='draws of each (default: 4)')
    parser.add_argument('--clusters', nargs='+', type=place, metavar='FILE',
                        help='compare the clusters of these files')  # fmt: skip
    parser.add_argument('--out', type=place, required=True, help='the picture; a .csv is beside it')
    args = parse(parser, argv, feature_net='PCA')
    # They say by which features, and where, clusters are made.
    for name in {'feature_net', 'cluster_path'} & parser.typed(argv) if args.clusters else ():
        raise UserError(f'--{name} does nothing with --clusters: leave one of them out')
    out, numbers = check_out(args.out)
    data = load_data(args)
    # Passes are cut into chunks, and the last may hold one image.
    check_network(args.model, data, 1, 'gradients')
    rows = measure(data, args)
    write_rows(rows, numbers)
    what = 'batches of one cluster' if args.clusters else f'clusters by {args.feature_net}'
    draw_errors(rows, f'{data.name}, {args.model}, {what}', out)


if __name__ == '__main__':
    main()
