"""The ConvNets of an architecture search: width x depth x norm x activation x pooling, 720 in all.

The grid is that of DC's study (Zhao et al., ICLR 2021). A network is called by its parts:
W32-D3-Nbatch-Arelu-Pavg.
"""

import itertools
from functools import partial

from dataset.data import Data
from engine.trial import check_network
from networks import NETWORKS, convnet
from utils import UserError

NORMS = {
    'none': 'none',
    'batch': 'batchnorm',
    'layer': 'layernorm',
    'instance': 'instancenorm',
    'group': 'groupnorm',
}
POOLINGS = {'none': 'none', 'max': 'maxpooling', 'avg': 'avgpooling'}
GRIDS = {
    'all': {
        'W': (32, 64, 128, 256),
        'D': (1, 2, 3, 4),
        'N': tuple(NORMS),
        'A': ('sigmoid', 'relu', 'leakyrelu'),
        'P': tuple(POOLINGS),
    },
    'small': {
        'W': (32,),
        'D': (1, 2, 3),
        'N': ('none', 'batch', 'instance'),
        'A': ('sigmoid', 'relu'),
        'P': ('max', 'avg'),
    },
}


def grid(words: list[str]) -> list[str]:
    """Return the names of the networks of --grid, each a row of NETWORKS from here on.

    words: a key of GRIDS, and parts (D1, Nbatch) to keep; parts of one letter are alternatives.
    Raises UserError for an unknown word, or if nothing is left.
    """
    name, *wanted = words
    if name not in GRIDS:
        raise UserError(f'--grid begins with {" or ".join(GRIDS)}, not with {name!r}')
    known = {f'{letter}{value}' for letter, values in GRIDS['all'].items() for value in values}
    unknown = sorted({*wanted} - known)
    if unknown:
        raise UserError(
            f'--grid: no network has a part {unknown[0]!r}; there are W32, D1, Nbatch …'
        )
    names = []
    for values in itertools.product(*GRIDS[name].values()):
        parts = [f'{letter}{value}' for letter, value in zip(GRIDS[name], values, strict=True)]
        if all(part in wanted for part in parts if any(word[0] == part[0] for word in wanted)):
            names.append('-'.join(parts))
            width, depth, norm, act, pooling = values
            NETWORKS[names[-1]] = partial(
                convnet, width=width, depth=depth, norm=NORMS[norm], act=act,
                pooling=POOLINGS[pooling],
            )  # fmt: skip
    if not names:
        raise UserError(f'--grid {" ".join(words)} is empty: leave out some of its parts')
    return names


def able(names: list[str], data: Data, smallest: int) -> list[str]:
    """Return the networks that can be trained on these images, and say how many cannot.

    smallest: images of the smallest batch. Raises UserError if none can.
    """
    kept, reason = [], None
    for name in names:
        try:
            check_network(name, data, smallest, 'architecture search')
            kept.append(name)
        except UserError as error:
            reason = error
    if not kept:
        raise UserError(f'--grid: no network of it can see these images: {reason}')
    if reason:
        print(f'{len(names) - len(kept)} of {len(names)} networks are left out: {reason}')
    return kept
