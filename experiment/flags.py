"""The one table of flags: how each is read, and what another value of it means for a run.

From its kind follow the name of a run, and what a checkpoint must agree in. So do the columns of
the report, labels, and which runs of a figure belong together. A default stands here, or in
DEFAULTS of a method that has another. A function as default derives the value from other flags.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch

from dataset.readers import DATASETS, dsa_strategy
from engine.device import fast_precision
from engine.own_network import own_network
from experiment.values import (
    amount,
    loops,
    natural,
    or_auto,
    pixels,
    positive,
    rate,
    several,
    share,
    strategy,
    word,
)
from networks import NETWORKS

KINDS = {
    'data': 'from which images',
    'experiment': 'another value is another experiment',
    'clusters': 'which real images a step sees',
    'evaluation': 'how sets are evaluated',
    'repetition': 'another run of the same experiment',
    'place': 'where to read, write and compute: the run stays the same',
    'shorthand': 'fills in flags that are not typed: the run is that of these flags',
}
EVAL_MODES = ('S', 'SS', 'M', 'B', 'W', 'D', 'A', 'P', 'N')


def published_strategy(flags: dict) -> str:
    """as published for the data set"""
    return dsa_strategy(flags['dataset'])


def device_at_hand(flags: dict) -> str:
    """cuda where there is one, else cpu"""
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def precision_of_device(flags: dict) -> str:
    """tf32 on cuda; bf16 on CPUs that have it, else fp32"""
    return fast_precision(flags['device'])


@dataclass(frozen=True)
class Flag:
    """A row of the table.

    kind: one of KINDS; default: a value, or a function of other flags whose docstring is its help;
    type, choices, metavar, nargs, const: as in argparse; optional: None is a value, and the
    default; load: reads a typed word in place of type, which reads words in files; column: the
    summary of runs has a column of its own for it; short: its name in figures; label: what a run's
    label says before another value than the default.
    """

    kind: str
    help: str
    default: object = None
    type: Callable = word
    choices: Collection[str] | None = None
    metavar: str | None = None
    nargs: str | None = None
    const: object = None
    optional: bool = False
    load: Callable | None = None
    column: bool = False
    short: str = ''
    label: str = ''


FLAGS = {
    # which images
    'dataset': Flag('data', f'{", ".join(DATASETS)}; or the path of an .npz or a folder', 'CIFAR10',
                    column=True),
    'im_size': Flag('data', 'resize to N x N pixels', type=pixels, metavar='N', optional=True),
    'resize': Flag('data', 'with --im_size: squash pictures (default: their centre)',
                   choices=('squash',), optional=True),
    'zca': Flag('data', 'whiten the images by ZCA with regularisation 0.1', False, bool),
    # the experiment
    'method': Flag('experiment', 'how a set is made', 'DC', column=True),
    'model': Flag('experiment', f'{", ".join(NETWORKS)}; or path/to/file.py:builder, your own '
                  '(docs/own_network.md)', 'ConvNet', choices=NETWORKS, metavar='NAME', column=True,
                  load=lambda text: own_network(word(text))),
    'ipc': Flag('experiment', 'images per class', 1, several, column=True),
    'Iteration': Flag('experiment', 'outer iterations', 1000, natural, column=True),
    'outer_loop': Flag('experiment', 'image updates an iteration; auto: as many as images per '
                       'class, at most 50', type=several, load=or_auto(several)),
    'inner_loop': Flag('experiment', 'network epochs after each of them; auto: on the line '
                       'between the presets for fewer and for more images', type=loops,
                       load=or_auto(loops)),
    'n_data': Flag('experiment', 'real images that the network learns from after each of them, in '
                   'whole batches', type=positive),
    'lr_img': Flag('experiment', 'learning rate of the images', type=rate),
    'lr_net': Flag('experiment', 'learning rate of the networks', 0.01, rate),
    'batch_real': Flag('experiment', 'real images a class and step', 256, positive),
    'batch_train': Flag('experiment', 'batch size to train networks', 256, positive),
    'init': Flag('experiment', 'start of the images; mix: real ones, shrunk to tiles; centres: of '
                 'K-Means on the pixels of a class; representative: real ones, nearest to centres '
                 'of features', 'noise',
                 choices=('noise', 'real', 'mix', 'centres', 'representative')),
    'factor': Flag('experiment', 'a stored image holds F x F tiles, each enlarged to an image', 1,
                   positive, metavar='F', column=True, short='factor'),
    'dsa_strategy': Flag('experiment', 'operations joined by "_", or None', published_strategy,
                         strategy),
    'dis_metric': Flag('experiment', 'distance of gradients', 'ours'),
    'reduce': Flag('experiment', 'reduce both gradients first', 'none', label=' '),
    'mask_quantile': Flag('experiment', 'keep what is larger', type=share, metavar='Q',
                          optional=True),
    'level': Flag('experiment', 'compare the gradient of each class, of all together, …', 'intra',
                  label=' '),
    'schedule': Flag('experiment', 'epochs of the network after each update', 'constant'),
    'momentum_net': Flag('experiment', 'momentum of its training', 0.0, share),
    'learn_labels': Flag('experiment', 'learn the labels of the images, too', False, bool),
    'ridge': Flag('experiment', 'regularisation of kernel regression, times the mean of its '
                  'diagonal', 1e-6, share),
    'num_nets': Flag('experiment', 'networks in the queue', 100, several),
    'net_every': Flag('experiment', 'iterations until a fresh one joins it', 30, positive),
    'ce_weight': Flag('experiment', 'weight of the cross-entropy of the images, times the '
                      'accuracy of the network in percent', type=amount),
    # which real images a step sees
    'draw': Flag('clusters', 'which real images of a class a step sees', column=True, label=' '),
    'layer_idx': Flag('clusters', 'block of ResNet18: 0, 1, 2 or 3', 1, int, (0, 1, 2, 3),
                      column=True, short='layer'),
    'num_cluster': Flag('clusters', 'clusters of a class', 20, positive, column=True, short='k'),
    'norm': Flag('clusters', 'clusters of about equal size', True, bool, column=True),
    'mix': Flag('clusters', 'uniform batches after iteration N (without N: 300)', type=natural,
                metavar='N', nargs='?', const=300, optional=True, column=True, label=' mix '),
    'feature_net': Flag(
        'clusters', 'features of this network, trained on all images for ten epochs, or PCA of the '
        'pixels (default: of the extractor)', choices=(*NETWORKS, 'PCA'), metavar='NAME',
        optional=True),
    'extractor': Flag(
        'clusters', 'weights of a ResNet18 with CIFAR stem (default: made when missing)',
        metavar='FILE', optional=True),
    'extractor_epochs': Flag(
        'clusters', 'epochs to make it (default: 30; on a CPU 5, small data more)', type=positive,
        optional=True),
    # how sets are evaluated
    'eval_mode': Flag(
        'evaluation',
        'S the same network (batch norm becomes instance norm), SS exactly the same, '
        'M architectures, B the same with batch norm, W width, D depth, A activation, P pooling, '
        'N norm', 'S', choices=EVAL_MODES),
    'num_exp': Flag('evaluation', 'synthetic sets', 5, several),
    'num_eval': Flag('evaluation', 'networks to evaluate a set', 20, several),
    'epoch_eval_train': Flag('evaluation', 'epochs to train them (default: 300; augmented: 1000)',
                             type=positive, optional=True),
    'eval_every': Flag('evaluation', 'evaluate at each multiple of this; 0: only at the end', 500,
                       natural),
    'protocol': Flag('evaluation', 'dc plain, dsa augmented, idc augmented and mixed (default: as '
                     'the set was made)', choices=('dc', 'dsa', 'idc'), optional=True),
    # another run of the same experiment
    'seed': Flag('repetition', 'decides every random draw', 0, natural, column=True),
    'device': Flag('place', 'cpu, cuda, cuda:1 …', device_at_hand),
    'data_device': Flag('place', 'cpu: real images stay in main memory, for sets that a GPU has no '
                        'room for (default: they are on the device)', choices=('cpu',),
                        optional=True),
    'precision': Flag(
        'repetition',
        'fp32; tf32: faster matrix units on GPUs; bf16: real-image gradients and training in '
        'bfloat16', precision_of_device, choices=('fp32', 'tf32', 'bf16'), column=True),
    'compile': Flag(
        'repetition',
        'compile passes; on a GPU replay them, too, or (graphs) only replay; auto: compile in runs '
        'long enough', 'auto', choices=('auto', 'on', 'graphs', 'off')),
    # where to read and write
    'data_path': Flag('place', 'folder of the data sets', 'data'),
    'save_path': Flag('place', 'folder of the runs', 'results'),
    'cluster_path': Flag('place', 'folder of extractor and clusters', 'clustering'),
    'tensorboard': Flag('place', 'scalars and images for TensorBoard', False, bool),
    'recipe': Flag('shorthand', 'settings that belong together', metavar='NAME', optional=True),
}  # fmt: skip

# A flag that is given makes these useless.
REPLACES = {
    'feature_net': ('layer_idx', 'extractor', 'extractor_epochs'),
    'extractor': ('extractor_epochs',),
}
# (flag, another flag, its value that makes it useless): one outer loop trains no network.
POINTLESS = (
    ('schedule', 'outer_loop', 1),
    ('momentum_net', 'outer_loop', 1),
    ('n_data', 'outer_loop', 1),
    ('inner_loop', 'outer_loop', 1),
    ('inner_loop', 'schedule', 'adaptive'),
)
AGREEING = {('inner_loop', 'outer_loop'): (0, 1)}  # the presets of ipc 1 have 1 and 1
# What scripts take besides the flags of methods and samplers.
DATA = 'dataset', 'data_path', 'im_size', 'resize', 'zca'
COMPUTE = 'seed', 'device', 'data_device', 'precision'
EVALUATION = (
    'model', 'lr_net', 'batch_train', 'eval_mode', 'num_exp', 'num_eval', 'epoch_eval_train',
    'protocol',
)  # fmt: skip
RUN = 'save_path', 'compile', 'tensorboard'
CLUSTERS = 'cluster_path', 'layer_idx', 'num_cluster', 'norm', 'extractor', 'extractor_epochs'
EVERY_RUN = (*DATA, *COMPUTE, *EVALUATION, *RUN, 'ipc')


def flags_of_kinds(*kinds: str) -> tuple[str, ...]:
    """Return the names of all flags of these kinds, in the order of the table."""
    return tuple(name for name, flag in FLAGS.items() if flag.kind in kinds)
