"""The shelf of methods: one idea a file, one row of METHODS a method (see README, "Add a method")."""

import inspect

from methods.batch_sampling import cluster_sampler
from methods.coreset import CORESETS
from methods.distribution import DistributionMatching
from methods.gradient import GradientMatching, SiameseGradientMatching
from methods.unrolled import DatasetDistillation

METHODS = {
    'DC': GradientMatching,
    'DSA': SiameseGradientMatching,
    'DM': DistributionMatching,
    'DD': DatasetDistillation,
    'BS': GradientMatching,
    'BS-DSA': SiameseGradientMatching,
    'BS-DM': DistributionMatching,
    'BS-DD': DatasetDistillation,
    **CORESETS,
}
# The same methods on batches from clusters.
CLUSTERED = {'DC': 'BS', 'DSA': 'BS-DSA', 'DM': 'BS-DM', 'DD': 'BS-DD'}


def taken_flags() -> dict[str, set[str]]:
    """Return, for each method, the flags that it or its sampler takes."""
    taken = {name: set(inspect.signature(method).parameters) for name, method in METHODS.items()}
    for name in CLUSTERED.values():
        taken[name] |= set(inspect.signature(cluster_sampler).parameters)
    return taken
