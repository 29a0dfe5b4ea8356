"""Which rows a cell of a table holds, and their accuracy over all networks."""

import numpy as np

from report.summary import Row


def matching(rows: list[Row], cell: dict) -> list[Row]:
    """Return the rows that have every value of cell, a row a seed.

    Of two rows of a seed it is the one with more networks, then the first. Networks that were
    trained for other numbers of epochs do not mix: those of most epochs count.
    """
    rows = [row for row in rows if all(row[key] == value for key, value in cell.items())]
    most = max((row.epochs for row in rows), default=0)
    by_seed = {}
    for row in rows:
        old = by_seed.get(row['seed'])
        if row.epochs == most and (old is None or row.num_networks > old.num_networks):
            by_seed[row['seed']] = row
    return list(by_seed.values())


def pooled(rows: list[Row]) -> tuple[float, float, int, np.ndarray]:
    """Return mean and population std over all networks, their number, and the means of all sets."""
    counts = np.array([row.num_networks for row in rows])
    means, stds = np.array([row.mean for row in rows]), np.array([row.std for row in rows])
    mean = np.average(means, weights=counts)
    std = np.sqrt(np.average(stds**2 + (means - mean) ** 2, weights=counts))
    sets = np.array([value for row in rows for value in row.set_means])
    return float(mean), float(std), int(counts.sum()), sets
