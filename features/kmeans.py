"""K-Means of the classes of a data set; plain, or with clusters of about equal size."""

import joblib
import numpy as np
import torch
from joblib import Parallel, delayed
from tqdm import tqdm

from processes import ranks
from utils import UserError, silence

SEEN = 10_000  # points that a silhouette is measured on: its time is quadratic
# Members that a balanced cluster may have more or less than n/k, at most half of n/k.
SLACK = 50


def size_bounds(n: int, k: int) -> tuple[int, int]:
    """Return the fewest and the most members of k balanced clusters: n/k ± min(50, n/2k)."""
    # The original's n/k ± 50 cannot be met, or allows clusters of one member, where n/k is small.
    slack = min(SLACK, n // (2 * k))
    return n // k - slack, min(n, -(-n // k) + slack)


def cluster_points(
    points: np.ndarray, k: int, balanced: bool, seed: int = 1
) -> tuple[np.ndarray, float, float]:
    """Cluster points (N, D); return labels (N,), inertia, mean silhouette (nan for k = 1 or N).

    Of many points the silhouette is that of SEEN of them.
    """
    silence()  # a worker process has warnings of its own
    # Imported here: each worker process needs it, and other commands should start fast.
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    if balanced:
        from k_means_constrained import KMeansConstrained

        low, high = size_bounds(len(points), k)
        model = KMeansConstrained(k, size_min=low, size_max=high, random_state=seed)
    else:
        model = KMeans(k, n_init=5, max_iter=300, random_state=seed)
    # In double precision: K-Means in single precision depends on the order of its sums.
    labels = model.fit_predict(points.astype(np.float64))
    some = slice(None)
    if len(points) > SEEN:
        some = np.random.default_rng(seed).choice(len(points), SEEN, replace=False)
    # K-Means leaves clusters empty where points coincide.
    shown, own = points[some], labels[some]
    silhouette = float('nan')
    if 1 < len(np.unique(own)) < len(shown):
        silhouette = silhouette_score(shown, own)
    return labels, float(model.inertia_), float(silhouette)


def nearest_to_centres(
    points: torch.Tensor, num: int, seed: int = 1, n_init: int = 5
) -> torch.Tensor:
    """Return the positions of num different points (N, D), the nearest to num K-Means centres.

    n_init: how often K-Means begins from other centres.
    """
    from sklearn.cluster import KMeans

    points = points.double()
    model = KMeans(num, n_init=n_init, random_state=seed).fit(points.numpy())
    chosen = []
    for row in torch.cdist(torch.from_numpy(model.cluster_centers_), points):
        row[chosen] = float('inf')
        chosen.append(int(row.argmin()))
    return torch.tensor(chosen)


def cluster_classes(
    features: torch.Tensor, classes: list[np.ndarray], k: int, balanced: bool, title: str
) -> list[tuple]:
    """Return what cluster_points returns for each class, in parallel: they do not depend on others.

    classes: positions in features (N, D). Ranks on one machine share its processors.
    """
    tasks = (
        delayed(cluster_points)(
            features[torch.from_numpy(index)].numpy(), min(k, len(index)), balanced
        )
        for index in classes
    )
    workers = max(1, joblib.cpu_count() // ranks.size_here())
    jobs = workers if len(features) > 5000 else 1  # workers take seconds to start
    results = Parallel(jobs, return_as='generator')(tasks)
    hidden = not ranks.leads()
    return list(tqdm(results, title, total=len(classes), leave=False, disable=hidden))


def check_packages(balanced: bool) -> None:
    """Raise UserError if what K-Means needs cannot be imported: before hours of work."""
    try:
        import sklearn.cluster  # noqa: F401
    except Exception as error:
        raise UserError(
            f'K-Means needs the package scikit-learn ({error}): pip install scikit-learn'
        ) from error
    if not balanced:
        return
    try:
        import k_means_constrained  # noqa: F401
    except Exception as error:  # missing, or a version that today's NumPy breaks
        raise UserError(
            f'clusters of equal size need the package k-means-constrained >= 0.7.4 ({error}): '
            'pip install "k-means-constrained>=0.7.4"; or pass --no-norm'
        ) from error
