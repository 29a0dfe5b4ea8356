"""Draw what runs logged: loss or gradient norms over iterations, accuracy over minutes.

    python -m figures.curves loss results/DC_* results/BS_* --out loss.png
    python -m figures.curves norms results/DC_* results/BS_* --out norms.png
    python -m figures.curves accuracy results/DC_* results/BS_* --out accuracy.png

Runs of one experiment (method and draw, or the flag of --by) are one line: their mean. If they are
several seeds or sets, a band reaches from the least to the greatest. If experiments share a name,
what differs is added.
"""

import experiment.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import json
from pathlib import Path

import numpy as np

from experiment.flags import FLAGS, Parser, positive
from experiment.result import differing, experiment_of, label_of
from figures.style import colors_of, plt, save_figure
from report.kept import read_log
from utils import UserError, script

SIDES = {'grad_norm_real': 'real batch', 'grad_norm_syn': 'synthetic batch'}


def read_records(folder: Path) -> tuple[dict, dict[int, list[dict]]]:
    """Return the arguments of a run and its records by set; raise UserError if it lacks them."""
    try:
        args = json.loads((folder / 'args.json').read_text())
        records = read_log(folder, partial=True)
        shared_settings(args)
    except (OSError, ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{folder} is no run with args.json and a log ({error})') from error
    sets = {}
    for record in records:
        if 'accs' not in record or record['accs']:
            sets.setdefault(record['exp'], []).append(record)
    if not sets:
        raise UserError(f'{folder}: its log holds no iteration and no evaluation')
    return args, sets


def iterations(records: list[dict]) -> list[dict]:
    """Return the records of iterations, without those of evaluations."""
    return [record for record in records if 'accs' not in record]


def smooth(values: list[float], window: int) -> np.ndarray:
    """Return the mean of each value and those before it, at most window of them."""
    sums = np.cumsum([0.0, *values])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    return (sums[ends] - sums[starts]) / (ends - starts)


def shared_settings(args: dict) -> dict[str, str]:
    """Return the settings of a run that seeds and sets of one experiment share, as text."""
    settings = {'dataset': Path(args['dataset']).stem, 'ipc': args['ipc']} | experiment_of(args)
    return {key: str(value) for key, value in settings.items()}


def group(folders: list[Path], by: str | None) -> dict[str, list[list[dict]]]:
    """Return {label: [records of a set, …]} of the runs."""
    experiments, runs, found = {}, {}, False
    for folder in folders:
        args, sets = read_records(folder)
        settings = shared_settings(args)
        has_it = bool(by) and by in args  # uniform batches have no clusters to tell them apart
        found |= has_it
        label = f'{FLAGS[by].short or by} {args[by]}' if has_it else label_of(args)
        experiments.setdefault(label, []).append(settings)
        runs.setdefault((label, tuple(settings.items())), []).extend(sets.values())
    if by and not found:
        raise UserError(f'no run has a flag {by!r}, so --by {by} cannot tell them apart')
    if by:
        # By length first: 5 before 10.
        runs = dict(sorted(runs.items(), key=lambda item: (len(item[0][0]), item[0])))
    return {
        label + differing(dict(settings), experiments[label]): sets
        for (label, settings), sets in runs.items()
    }


def draw_lines(axis, groups: dict, value, window: int) -> None:
    """Draw value(record) of every group over the iterations, smoothed; several sets give a band."""
    colors = colors_of(list(groups))
    for label, sets in groups.items():
        length = min(len(records) for records in sets)
        lines = np.stack([smooth([value(r) for r in records[:length]], window) for records in sets])
        steps = [record['iteration'] for record in sets[0][:length]]
        axis.plot(steps, lines.mean(0), color=colors[label], label=label, linewidth=1.4)
        if len(sets) > 1:
            axis.fill_between(
                steps, lines.min(0), lines.max(0), color=colors[label], alpha=0.2, linewidth=0
            )
    axis.spines[['top', 'right']].set_visible(False)
    axis.margins(x=0.01)


def draw_loss(groups: dict, window: int, out: Path) -> None:
    """Write the matching loss over iterations to out."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout='constrained')
    draw_lines(axis, groups, lambda record: record['loss'], window)
    axis.set(xlabel='iteration', ylabel='matching loss, a class and step')
    axis.legend(frameon=False)
    save_figure(figure, out)


def draw_norms(groups: dict, window: int, out: Path) -> None:
    """Write the gradient norm of every convolution, of real and of synthetic batches, to out."""
    names = list(next(iter(groups.values()))[0][0]['grad_norm_real'])[:-1]  # without the classifier
    if not names:
        raise UserError('the network of these runs has one weight only: no convolution to draw')
    size = 3.2 * len(names), 4.8
    figure, axes = plt.subplots(
        2, len(names), figsize=size, squeeze=False, sharex=True, layout='constrained'
    )
    for row, (side, title) in zip(axes, SIDES.items(), strict=True):
        for block, (axis, name) in enumerate(zip(row, names, strict=True)):
            draw_lines(
                axis,
                groups,
                lambda record, side=side, name=name: record[side].get(name, np.nan),
                window,
            )
            axis.set_title(f'{title}, block {block}', fontsize=10)
    for axis in axes[-1]:
        axis.set_xlabel('iteration')
    axes[0, 0].set_ylabel('gradient L2 norm')
    axes[1, 0].set_ylabel('gradient L2 norm')
    lines = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        *lines, loc='outside upper center', ncols=min(len(groups), 2 * len(names)), frameon=False
    )
    save_figure(figure, out)


def draw_accuracy(groups: dict, window: int, out: Path) -> None:
    """Write accuracy over minutes of condensing to out: a point ± std an evaluation."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout='constrained')
    colors = colors_of(list(groups))
    for label, sets in groups.items():
        for number, records in enumerate(sets):
            minutes, points = 0.0, []
            for record in records:
                minutes += record.get('seconds', 0) / 60
                if 'accs' in record:
                    values = 100 * np.array(next(iter(record['accs'].values())))
                    points.append((minutes, values.mean(), values.std()))
            if points:
                style = {'color': colors[label], 'marker': 'o', 'capsize': 3, 'linewidth': 1.2}
                name = label if number == 0 else None
                axis.errorbar(*zip(*points, strict=True), label=name, **style)
    axis.set(xlabel='minutes of condensing', ylabel='test accuracy, %')
    axis.spines[['top', 'right']].set_visible(False)
    axis.legend(frameon=False)
    save_figure(figure, out)


LOGGED = {'loss': 'loss', 'norms': 'grad_norm_real'}  # what a figure needs of every iteration
FIGURES = {'loss': draw_loss, 'norms': draw_norms, 'accuracy': draw_accuracy}


@script
def main(argv=None):
    """Draw the figure that the command line asks for."""
    parser = Parser(__doc__)
    parser.add_argument('figure', choices=FIGURES)
    parser.add_argument('runs', nargs='+', type=Path, help='folders of runs')
    text = 'tell runs apart by this flag, e.g. num_cluster (default: by method)'
    parser.add_argument('--by', choices=FLAGS, metavar='FLAG', help=text)
    parser.add_argument(
        '--window', type=positive, default=25, help='iterations to average over (default: 25)'
    )
    parser.add_argument(
        '--out', type=Path, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parser.parse_args(argv)
    groups = group(args.runs, args.by)
    if args.figure in LOGGED:
        groups = {
            label: [iterations(records) for records in sets] for label, sets in groups.items()
        }
        needed = LOGGED[args.figure]
        for label, sets in groups.items():
            if not all(records and needed in records[0] for records in sets):
                raise UserError(f'{label} logged no {needed}; draw {args.figure} without it')
    FIGURES[args.figure](groups, args.window, args.out)


if __name__ == '__main__':
    main()
