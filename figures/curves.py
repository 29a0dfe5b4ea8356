"""Draw what runs logged: loss or gradient norms over iterations, accuracy over minutes.

    python -m figures.curves loss results/DC_* results/BS_* --out loss.png
    python -m figures.curves norms results/DC_* results/BS_* --out norms.png
    python -m figures.curves accuracy results/DC_* results/BS_* --out accuracy.png

Runs of one experiment (method and draw, or the flag of --by) are one line: their mean. If they are
several seeds or sets, a band reaches from the least to the greatest. If experiments share a name,
what differs is added.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import numpy as np

from dataset.names import name_of
from evaluation.protocol import protocol_of
from experiment.flags import FLAGS
from experiment.parser import Parser
from experiment.result import differing, experiment_of, label_of
from experiment.values import place, positive
from figures.style import (
    add_legend,
    check_picture,
    colors_of,
    dashes_of,
    plain,
    plt,
    save_figure,
)
from report.logs import read_args, read_log
from utils import UserError, script

SIDES = {'grad_norm_real': 'real batch', 'grad_norm_syn': 'synthetic batch'}


def read_records(folder: Path) -> tuple[dict, dict[int, list[dict]]]:
    """Return the arguments of a run and its records by set; raise UserError if it lacks them."""
    try:
        args, records = read_args(folder), read_log(folder, partial=True)
    except UserError as error:
        raise UserError(f'{folder} is no run with args.json and a log: {error}') from error
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
    settings = {'dataset': name_of(args['dataset']), 'ipc': args['ipc']} | experiment_of(args)
    settings['protocol'] = protocol_of(args)  # accuracies by two of them are no line
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
    dashes = dashes_of(colors)
    for label, sets in groups.items():
        curves = []
        for records in sets:
            values = smooth([value(record) for record in records], window)
            steps = [record['iteration'] for record in records]
            curves.append(dict(zip(steps, values, strict=True)))
        # Runs may be of different lengths, and have gaps: what all of them have.
        steps = [step for step in curves[0] if all(step in curve for curve in curves)]
        if not steps:
            raise UserError(f'{label}: its sets have no iteration in common')
        lines = np.array([[curve[step] for step in steps] for curve in curves])
        style = {'color': colors[label], 'linestyle': dashes[label], 'label': plain(label)}
        axis.plot(steps, lines.mean(0), linewidth=1.4, **style)
        if len(sets) > 1:
            axis.fill_between(
                steps, lines.min(0), lines.max(0), color=colors[label], alpha=0.2, linewidth=0
            )
    axis.spines[['top', 'right']].set_visible(False)
    axis.margins(x=0.01)


def draw_loss(groups: dict, window: int):
    """Return the figure of the matching loss over iterations."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout='constrained')
    draw_lines(axis, groups, lambda record: record['loss'], window)
    axis.set(xlabel='iteration', ylabel='matching loss, a class and step')
    add_legend(axis, groups)
    return figure


def draw_norms(groups: dict, window: int):
    """Return the figure of the gradient norm of every convolution, of both kinds of batches."""
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
    return figure


def points_of(records: list[dict]) -> list[tuple[float, float, float]]:
    """Return (minutes, mean, std) of each evaluation of a set, by its first network."""
    minutes, points = 0.0, []
    for record in records:
        minutes += (record.get('seconds') or 0) / 60
        if 'accs' in record:
            values = 100 * np.array(next(iter(record['accs'].values())))
            points.append((minutes, values.mean(), values.std()))
    return points


def networks_text(groups: dict) -> str:
    """Return ' of …' with the networks that draw_accuracy shows, '' if there is one in all runs."""
    accs = [r['accs'] for sets in groups.values() for part in sets for r in part if 'accs' in r]
    if len({network for of_record in accs for network in of_record}) == 1:
        return ''
    return f' of {", ".join(dict.fromkeys(next(iter(of_record)) for of_record in accs))}'


def draw_accuracy(groups: dict, window: int):
    """Return the figure of accuracy over minutes of condensing: a point ± std an evaluation."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout='constrained')
    colors = colors_of(list(groups))
    for label, sets in groups.items():
        style = {'color': colors[label], 'marker': 'o', 'capsize': 3, 'linewidth': 1.2}
        curves = [points for points in map(points_of, sets) if points]
        if not curves:
            raise UserError(f'{label} logged no evaluation; draw accuracy without it')
        for number, points in enumerate(curves):
            name = None if number else plain(label)
            axis.errorbar(*zip(*points, strict=True), label=name, **style)
    axis.set_xlabel('minutes of condensing')
    axis.set_ylabel(plain(f'test accuracy{networks_text(groups)}, %'))
    axis.spines[['top', 'right']].set_visible(False)
    add_legend(axis, groups)
    return figure


LOGGED = {'loss': ('loss',), 'norms': tuple(SIDES)}  # what a figure needs of every iteration


def with_logged(groups: dict, figure: str) -> dict:
    """Return the groups with their iterations alone; raise UserError if one lacks what it needs."""
    groups = {label: [iterations(records) for records in sets] for label, sets in groups.items()}
    for needed in LOGGED[figure]:
        for label, sets in groups.items():
            whole = all(r.get(needed) is not None for records in sets for r in records)
            if not whole or not all(sets):
                raise UserError(f'{label} logged no {needed}; draw {figure} without it')
    return groups


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
        '--out', type=place, required=True, help='the picture to write (.png or .pdf)'
    )
    args = parser.parse_args(argv)
    out, groups = check_picture(args.out), group(args.runs, args.by)
    if args.figure in LOGGED:
        groups = with_logged(groups, args.figure)
    save_figure(FIGURES[args.figure](groups, args.window), out)


if __name__ == '__main__':
    main()
