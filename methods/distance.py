"""Distances between the gradients of a synthetic and a real batch.

    D(A, B) = Σ_layers Σ_out (1 − A_i·B_i / (‖A_i‖‖B_i‖ + 1e-6))

This is `ours` (DC, arXiv 2006.05929, equation 10). A gradient is a list of one tensor a parameter.
"""

import torch

from engine.gradients import choose
from engine.graphs import replayed
from methods.reduction import REDUCTIONS
from utils import UserError


def match_ours(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Sum 1 - cosine over all output nodes of all weights (DC, equation 10).

    Parameters of one dimension count 0.
    """
    distance = torch.zeros((), device=grads_syn[0].device, dtype=grads_syn[0].dtype)
    for syn, real in zip(grads_syn, grads_real, strict=True):
        if syn.ndim > 1:
            syn, real = syn.flatten(1), real.flatten(1)  # (output nodes, inputs of a node)
            norms = syn.norm(dim=1) * real.norm(dim=1)
            distance = distance + (1 - (syn * real).sum(1) / (norms + 1e-6)).sum()
    return distance


def match_mse(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Sum the squared differences over all parameters."""
    return sum((syn - real).square().sum() for syn, real in zip(grads_syn, grads_real, strict=True))


def match_cos(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Return 1 - cosine of the two gradients, each as one vector of all parameters."""
    syn, real = (torch.cat([grad.flatten() for grad in grads]) for grads in (grads_syn, grads_real))
    return 1 - (syn @ real) / (syn.norm() * real.norm() + 1e-6)


def match_angle_magnitude(
    grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]
) -> torch.Tensor:
    """Add to match_ours the length of each output node's difference (after arXiv 2208.00311)."""
    distance = match_ours(grads_syn, grads_real)
    for syn, real in zip(grads_syn, grads_real, strict=True):
        if syn.ndim > 1:
            distance = distance + (syn - real).flatten(1).norm(dim=1).sum()
    return distance


def convolutions(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> list[tuple]:
    """Return (synthetic, real) of the weights of convolutions, without biases and classifier."""
    return [pair for pair in zip(grads_syn, grads_real, strict=True) if pair[0].ndim == 4]


def match_conv_mse(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Sum the squared differences over the weights of convolutions (IDC, arXiv 2205.14959)."""
    return sum((syn - real).square().sum() for syn, real in convolutions(grads_syn, grads_real))


def match_conv_l1(grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]) -> torch.Tensor:
    """Sum the absolute differences over the weights of convolutions (IDC, of grey images)."""
    return sum((syn - real).abs().sum() for syn, real in convolutions(grads_syn, grads_real))


DISTANCES = {
    'ours': match_ours,
    'mse': match_mse,
    'cos': match_cos,
    'angle_magnitude': match_angle_magnitude,
    'conv_mse': match_conv_mse,
    'conv_l1': match_conv_l1,
}


def check_distance(dis_metric: str, net: torch.nn.Module, model: str) -> None:
    """Raise UserError if net has nothing that this distance compares."""
    if dis_metric.startswith('conv') and not any(param.ndim == 4 for param in net.parameters()):
        raise UserError(
            f'--dis_metric {dis_metric} compares convolutions, and {model} has none; use mse'
        )


def reduced_distance(dis_metric: str, reduce: str, mask_quantile: float | None):
    """Return the distance of this name between reduced gradients: (synthetic, real) -> scalar.

    Raises UserError if there is a mask_quantile but no mask, or a mask but no mask_quantile.
    """
    if (mask_quantile is not None) != (reduce == 'mask'):
        raise UserError(
            f'--mask_quantile {mask_quantile} with --reduce {reduce}: the one needs the other'
        )
    distance = DISTANCES[dis_metric]
    return lambda *grads: distance(*REDUCTIONS[reduce](*grads, mask_quantile))


class Derivative:
    """The derivative of a distance for the synthetic gradient; replayed on a GPU if so asked.

    distance: see reduced_distance; compile: see engine/gradients.py.
    """

    def __init__(self, distance, compile: bool | str, device: torch.device):
        # On a CPU its few small operations are not worth compiling.
        distance = choose(distance, device.type != 'cpu' and compile)

        def derivative(*grads):
            grads_syn = [grad.detach().requires_grad_() for grad in grads[: len(grads) // 2]]
            value = distance(grads_syn, list(grads[len(grads_syn) :]))
            # Weights that the distance ignores, such as biases, get a derivative of 0.
            return [value.detach(), *torch.autograd.grad(value, grads_syn, materialize_grads=True)]

        self.derivative = replayed(derivative, compile, device)

    def __call__(
        self, grads_syn: list[torch.Tensor], grads_real: list[torch.Tensor]
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the distance, and its derivative for every synthetic gradient."""
        value, *direction = self.derivative(*grads_syn, *grads_real)
        return value, direction
