"""Reductions of gradients before they are compared: fewer numbers.

    python main.py --method DC --reduce maxpool1 --dataset CIFAR10 --ipc 1

A reduced gradient says less of what only this network says. A reduction takes the synthetic and the
real gradient, each a list of one tensor a parameter, and returns both reduced. Pools act on the H x
W kernels of convolutions and leave other parameters as they are.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F

Gradient = list[torch.Tensor]


def pooled(pool, size: int, grads_syn: Gradient, grads_real: Gradient, quantile: float = 0.0):
    """Reduce every 2-D kernel (H, W) of both gradients to size x size numbers by pool."""
    return [
        [pool(grad, size) if grad.ndim == 4 else grad for grad in grads]
        for grads in (grads_syn, grads_real)
    ]


def masked(grads_syn: Gradient, grads_real: Gradient, quantile: float):
    """Keep of both gradients the entries whose real magnitude is above its quantile in its weight.

    All others become 0 on both sides. So do entries that equal the quantile.
    """
    kept_syn, kept_real = [], []
    for syn, real in zip(grads_syn, grads_real, strict=True):
        magnitude = real.abs().flatten()
        dropped = min(math.ceil(quantile * len(magnitude)), len(magnitude) - 1)
        keep = (
            real.abs() > magnitude.kthvalue(dropped).values
            if dropped
            else torch.ones_like(real).bool()
        )
        kept_syn.append(syn * keep)
        kept_real.append(real * keep)
    return kept_syn, kept_real


REDUCTIONS = {
    'none': lambda grads_syn, grads_real, quantile: (grads_syn, grads_real),
    'avgpool1': partial(pooled, F.adaptive_avg_pool2d, 1),
    'avgpool2': partial(pooled, F.adaptive_avg_pool2d, 2),
    'maxpool1': partial(pooled, F.adaptive_max_pool2d, 1),
    'maxpool2': partial(pooled, F.adaptive_max_pool2d, 2),
    'mask': masked,
}
