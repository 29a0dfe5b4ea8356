"""The kernels of an infinitely wide network with one hidden layer of ReLU, in closed form.

Weights have the variance 2 / fan-in and biases 0.01, as KIP (arXiv 2011.00050) uses them. The NNGP
kernel (Lee et al., ICLR 2018) is the covariance of the network's outputs over random weights. The
neural tangent kernel (NTK: Jacot et al., NeurIPS 2018) is the inner product of its gradients. Both
are integrals over two correlated normal variables (Cho & Saul, NeurIPS 2009).
"""

import math

import torch

from utils import UserError

WEIGHTS, BIAS = 2.0, 0.01  # variances, that of the weights times their fan-in
EQUAL = 1 - 1e-7  # inputs whose cosine is larger point in one direction: arccos has no slope at 1
SINGULAR = 1e-7  # smallest ratio of pivots whose square float64 tells from 0


def kernels(left: torch.Tensor, right: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return NNGP and NTK (N, M) of the rows of left (N, D) and right (M, D), in their precision.

    Zero gradient between rows of one direction, whose angle is a kink there.
    """
    size = left.shape[1]
    first = WEIGHTS / size * (left @ right.T) + BIAS  # the hidden layer before its ReLU
    own, others = (WEIGHTS / size * part.square().sum(1) + BIAS for part in (left, right))
    scale = torch.sqrt(own[:, None] * others[None])
    cosine = first / scale
    angle = torch.arccos(cosine.clamp(-EQUAL, EQUAL))
    angle = torch.where(cosine > EQUAL, torch.zeros_like(angle), angle)
    both_on = (math.pi - angle) / math.pi  # 2 P(both units are positive)
    nngp = scale * (torch.sin(angle) / math.pi + both_on * torch.cos(angle)) + BIAS
    return nngp, nngp + both_on * first


def ntk(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the NTK (N, M) of images (N, C, H, W) and (M, C, H, W), in float64."""
    return kernels(left.double().flatten(1), right.double().flatten(1))[1]


def regression(images: torch.Tensor, targets: torch.Tensor, ridge: float) -> torch.Tensor:
    """Return the coefficients (N, K), differentiably, of the ridge regression of targets (N, K).

    images: (N, C, H, W); ridge: times the mean of the kernel's diagonal. Its prediction for other
    images is ntk(others, images) @ coefficients. Raises UserError if there is no solution.
    """
    kernel = ntk(images, images)
    diagonal = kernel.diagonal().mean() * ridge * torch.ones_like(kernel[0])
    factor, failed = torch.linalg.cholesky_ex(kernel + torch.diag(diagonal))
    pivots = factor.diagonal().detach()
    if failed or not pivots.min() > SINGULAR * pivots.max():
        raise UserError(
            f'the kernel matrix of {len(images)} images cannot be solved with --ridge {ridge}: '
            'images coincide or are not finite; use a larger --ridge, or a smaller --lr_img'
        )
    return torch.cholesky_solve(targets, factor)
