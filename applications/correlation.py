"""How well accuracies on a proxy rank networks: Spearman's correlation, with its interval."""

import numpy as np
from scipy.stats import rankdata

LEAST = 4  # networks: of fewer a rank correlation says nothing
RESAMPLES, SHARE = 2000, 95


def rank_correlation(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Return Spearman's correlation along the last axis; nan where all values are equal."""
    ranks = [rankdata(part, axis=-1) for part in (ours, theirs)]
    ranks = [part - part.mean(-1, keepdims=True) for part in ranks]
    product = (ranks[0] * ranks[1]).sum(-1)
    with np.errstate(invalid='ignore'):
        return product / np.sqrt((ranks[0] ** 2).sum(-1) * (ranks[1] ** 2).sum(-1))


def with_interval(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
    """Return the correlation of accuracies (n,), and its bootstrap interval over networks.

    The interval is of percentiles at 95 %; it is always the same for the same numbers.
    """
    index = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))
    values = rank_correlation(ours[index], theirs[index])
    values = values[np.isfinite(values)]
    ends = ((100 - SHARE) / 2, (100 + SHARE) / 2)
    low, high = np.percentile(values, ends) if len(values) else (np.nan, np.nan)
    return float(rank_correlation(ours, theirs)), float(low), float(high)


def subsets(real: np.ndarray) -> dict[str, np.ndarray]:
    """Return the positions of all networks, of the best third on real images, of the top ten."""
    order = np.argsort(-real, kind='stable')
    third = -(-len(real) // 3)
    parts = {'all': order, 'best third': order[:third], 'top ten': order[:10]}
    return {f'{name} ({len(index)})': index for name, index in parts.items()}


def correlation_text(proxy: np.ndarray, real: np.ndarray, index: np.ndarray) -> str:
    """Return 'r [low, high]' of the networks at index, '-' if they are too few."""
    if len(index) < LEAST:
        return '-'
    value, low, high = with_interval(proxy[index], real[index])
    if not np.isfinite(value):
        return '-'
    return f'{value:+.2f} [{low:+.2f}, {high:+.2f}]'
