"""Accuracy over what was seen: the table of a study of continual learning, its CSV, its figure.

curves: {row: accuracies (orders, steps) in [0, 1]}. All rows meet the same orders and the same
fresh networks, so a difference is taken within an order.
"""

from pathlib import Path

import numpy as np

from figures.style import add_legend, colors_of, dashes_of, plain, plt, save_figure
from report.markup import csv_of
from storage.files import write_atomic
from utils import aligned, plural

DISTILLED = ' + distillation'
REFERENCES = 'random', 'herding'
BOUND, NONE = 'full', 'none'  # all real images of the past, and no image of it


def gain(own: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return the mean difference of accuracies (orders, steps), and its standard error, in %.

    Of an order counts the mean over its steps. The error is nan for a single order.
    """
    differences = 100 * (own - other).mean(1)
    error = differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else np.nan
    return float(differences.mean()), float(error)


def gain_text(curves: dict[str, np.ndarray], row: str, reference: str) -> str:
    """Return how much better a row is than a reference, with a star beyond two standard errors."""
    suffix = DISTILLED if row.endswith(DISTILLED) else ''
    if reference + suffix not in curves or row == reference + suffix:
        return '-'
    mean, error = gain(curves[row], curves[reference + suffix])
    if np.isnan(error):
        return f'{mean:+.1f}'
    return f'{mean:+.1f} ± {error:.1f}{"*" if mean > 2 * error else ""}'


def table(curves: dict[str, np.ndarray], seen: list[int], what: str) -> str:
    """Return the table for the terminal; seen: how many classes or tasks (what) after each step."""
    # Of the two only tasks can be one.
    steps = [f'{num} {what}' if num > 1 else '1 task' for num in seen]
    header = ('memory', *steps, 'mean')
    lines = [(*header, *(f'over {reference}' for reference in REFERENCES))]
    for row, values in curves.items():
        columns = [*values.T, values.mean(1)]
        cells = [f'{100 * part.mean():.1f} ± {100 * part.std():.1f}' for part in columns]
        lines.append((row, *cells, *(gain_text(curves, row, other) for other in REFERENCES)))
    orders = plural(len(next(iter(curves.values()))), 'order')
    note = f'± std over {orders}; differences ± standard error, paired over orders'
    return f'{aligned(lines)}\n{note}; * more than two of them\n{verdict(curves)}'


def verdict(curves: dict[str, np.ndarray]) -> str:
    """Return a line: which rows are better than both references by over two standard errors."""
    better = [
        row
        for row in curves
        if row.removesuffix(DISTILLED) not in (*REFERENCES, BOUND)
        and all(gain_text(curves, row, reference).endswith('*') for reference in REFERENCES)
    ]
    return f'better than random and herding: {", ".join(better) or "none"}'


def write_csv(path: Path, curves: dict[str, np.ndarray], seen: list[int], what: str) -> None:
    """Write a line for each row, order and step; raise UserError if that fails."""
    lines = [('memory', 'order', f'{what}_seen', 'accuracy')]
    for row, values in curves.items():
        for (order, step), accuracy in np.ndenumerate(values):
            lines.append((row, order, seen[step], f'{100 * accuracy:.3f}'))
    write_atomic(path, csv_of(lines))


def draw(curves: dict[str, np.ndarray], seen: list[int], what: str, out: Path) -> None:
    """Write the figure to out: a line for each row, ± std over orders."""
    figure, axis = plt.subplots(figsize=(6, 3.6), layout='constrained')
    colors = colors_of(list(curves))
    dashes = dashes_of(colors)
    for row, values in curves.items():
        axis.errorbar(
            seen, 100 * values.mean(0), 100 * values.std(0), label=plain(row), color=colors[row],
            linestyle=dashes[row], marker='o', capsize=3, linewidth=1.2,
        )  # fmt: skip
    axis.set(xlabel=f'{what} seen', ylabel='test accuracy, %', xticks=seen)
    axis.spines[['top', 'right']].set_visible(False)
    add_legend(axis, curves)
    save_figure(figure, out)
