"""The shelf of methods: one idea a file, one row of METHODS a method (README, "Add a method").

A method is built from (data, sampler, *, keywords named like flags, rng) and has .synset. If it has
.step(pause), .state_dict() and .load_state_dict(), it is iterated and resumed. DEFAULTS holds its
own defaults: values, or functions of the other flags whose docstring is their help. AUTO holds such
functions for loops typed as auto. EPOCHS_ON_ALL: epochs that it trains a network on all images
first, which --compile auto counts as work. A static check(data, args), if any, tries its network at
the sizes that will occur (engine/trial.py). A static total_matters(args) says which flag, if any,
makes every iteration depend on their number; without it, the keyword Iteration does. A static
kernel_accuracy(data, args, images, labels), if any, is reported beside the networks. With
SHOWS_NETWORK it calls methods.representative.look, so --draw representative is possible.
"""

from collections import ChainMap

from experiment.shelf import FOLLOWING, Shelf
from methods.bptt import BPTT
from methods.coresets import Coreset, Forgetting, Herding, KCenter, KMeansCentres
from methods.dataset_distillation import DatasetDistillation
from methods.distance import DISTANCES
from methods.distribution_matching import DistributionMatching
from methods.feature_alignment import FeatureAlignment
from methods.gradient_matching import GradientMatching, SiameseGradientMatching
from methods.idc import DREAM, IDC
from methods.improved_matching import ImprovedDistributionMatching
from methods.inner_loop import SCHEDULES
from methods.kernel_inducing_points import KernelInducingPoints
from methods.levels import LEVELS
from methods.mean import ClassMean
from methods.recipes import RECIPES
from methods.reduction import REDUCTIONS
from methods.representative import RepresentativeSampler
from methods.sampling import DRAWS, UniformSampler, cluster_sampler

METHODS = {
    'DC': GradientMatching,
    'DSA': SiameseGradientMatching,
    'DM': DistributionMatching,
    'IDM': ImprovedDistributionMatching,
    'DD': DatasetDistillation,
    'BPTT': BPTT,
    'IDC': IDC,
    'DREAM': DREAM,
    'CAFE': FeatureAlignment,
    'KIP': KernelInducingPoints,
    'mean': ClassMean,
    'random': Coreset,
    'herding': Herding,
    'kcenter': KCenter,
    'kmeans': KMeansCentres,
    'forgetting': Forgetting,
}
TABLES = {
    'dis_metric': DISTANCES,
    'reduce': REDUCTIONS,
    'level': LEVELS,
    'schedule': SCHEDULES,
    'draw': ChainMap({'uniform': UniformSampler}, DRAWS, {FOLLOWING: RepresentativeSampler}),
}
# What main.py and main_BS.py condense with: any method, on batches of any draw.
SHELF = Shelf(METHODS, TABLES, cluster_sampler, RECIPES)
