"""Levels: whether the gradient of each class is compared, or of all classes together.

intra        each class for itself (DC)
inter        all classes together, in one pass: the gradient of their mean, weight K
both         intra + inter (arXiv 2208.00311, multi-level)
interleaved  intra at even iterations, inter at odd ones (arXiv 2208.00311)
contrast     intra to warm up, then inter with weight 1 (DCC, arXiv 2202.02916)
centred      each class for itself, less the mean over all classes on both sides
"""

import torch

from experiment.arguments import Arguments

LEVELS = ('intra', 'inter', 'both', 'interleaved', 'contrast', 'centred')
# DCC: of 1000 iterations the first 250 warm up, and in a network the first 10 steps do.
WARM_UP, WARM_UP_STEPS = 4, 10

GradientList = list[torch.Tensor]  # one tensor a parameter


def level_of_step(level: str, iteration: int, iterations: int, step: int) -> str:
    """Return the level of a step: 'intra', 'inter', 'both' or 'centred'.

    iteration: of `iterations`, from 0; step: of this network, from 0.
    """
    if level == 'interleaved':
        return 'inter' if iteration % 2 else 'intra'
    if level == 'contrast':
        warm = iteration >= iterations // WARM_UP or step >= WARM_UP_STEPS
        return 'inter' if warm else 'intra'
    return level


def total_matters(args: Arguments) -> str | None:
    """Return the flag that makes an iteration depend on how many there will be, None if none."""
    return '--level contrast' if args.level == 'contrast' else None


def weight_of(level: str, num_classes: int) -> int:
    """Return the weight of the distance of all classes together.

    K keeps the step on the images about as long as with the sum over classes; DCC has 1.
    """
    return 1 if level == 'contrast' else num_classes


def summed_directions(pairs: list[tuple], compare) -> list[GradientList]:
    """Return a direction a class: its own distance's, plus that of all classes together.

    pairs: (synthetic, real) gradient of each class; compare: the derivative of their distance for
    the synthetic one, see GradientMatching.
    """
    means = [mean_over_classes(grads) for grads in zip(*pairs, strict=True)]
    # The weight K of their distance and the share 1 / K of a class in the mean cancel.
    together = compare(*means, weight=len(pairs))
    return [torch._foreach_add(compare(*pair), together) for pair in pairs]


def centred_directions(pairs: list[tuple], compare) -> list[GradientList]:
    """Return a direction a class: of the distance without what all classes share."""
    sides = [centred(grads) for grads in zip(*pairs, strict=True)]
    # The mean depends on every class, so its derivative is taken off as well.
    return centred([compare(*pair) for pair in zip(*sides, strict=True)])


def centred(gradients) -> list[GradientList]:
    """Return gradients, each one tensor a parameter, less their mean."""
    mean = mean_over_classes(gradients)
    return [torch._foreach_sub(list(grads), mean) for grads in gradients]


def mean_over_classes(gradients) -> GradientList:
    """Return the mean of gradients, each one tensor a parameter: the gradient of all classes."""
    return [torch.stack(grads).mean(0) for grads in zip(*gradients, strict=True)]


# What moves each class where that depends on all of them.
DIRECTIONS = {'both': summed_directions, 'centred': centred_directions}
