"""The shelf of methods: one idea a file, one row of METHODS a method (see README, "Add a method")."""

from methods.coreset import CORESETS
from methods.gradient import GradientMatching, SiameseGradientMatching

METHODS = {
    'DC': GradientMatching,
    'DSA': SiameseGradientMatching,
    'BS': GradientMatching,
    'BS-DSA': SiameseGradientMatching,
    **CORESETS,
}
CLUSTERED = {'DC': 'BS', 'DSA': 'BS-DSA'}  # the same methods on batches from clusters
