"""The loss of CAFE (Wang et al., CVPR 2022, arXiv 2203.01531), and its derivative.

Class means of real and synthetic images are compared at every tap of a network (engine/taps.py).
Real images should be told apart by their inner products with the synthetic mean embeddings.
"""

import torch
import torch.nn.functional as F

# Weights of the taps: the embedding, which counts twice, the last one before it, all others.
EMBEDDING, LAST, OTHERS = 2.0, 1.0, 0.1
# Published for a sum over batches of so many images of each class.
DISCRIMINATION, BATCH = 0.01, 256


def weights_of(num: int) -> list[float]:
    """Return the weights of so many taps, the embedding last."""
    return [*[OTHERS] * (num - 2), LAST, EMBEDDING]


def alignment(
    real: list[torch.Tensor], syn: list[torch.Tensor], features: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return the parts of the loss, of every tap and of discrimination, and directions (K, D).

    real, syn: means (K, D) of every tap over each class; features: embeddings (N, D) of the real
    images of classes labels (N,). The directions are the derivative of the sum of the parts for the
    synthetic means.
    """
    parts, directions = [], []
    for weight, a, b in zip(weights_of(len(syn)), syn, real, strict=True):
        parts.append(weight * (a - b).square().sum())
        directions.append(2 * weight * (a - b))
    # Cross-entropy of the real images, which are data; the means move. Smaller batches get the same
    # weight beside the other parts, which are of means.
    weight = DISCRIMINATION * (BATCH * len(syn[-1]) / len(features))
    logits = features @ syn[-1].T
    parts.append(weight * F.cross_entropy(logits, labels, reduction='sum'))
    wrong = logits.softmax(1) - F.one_hot(labels, len(syn[-1]))
    directions[-1] = directions[-1] + weight * wrong.T @ features
    return torch.stack(parts), directions
