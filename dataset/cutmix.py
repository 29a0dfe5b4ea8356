"""CutMix: a box of another image of the batch replaces a part of each (Yun et al., ICCV 2019,
arXiv 1905.04899). The labels are mixed as the areas are."""

import torch
import torch.nn.functional as F

PROBABILITY = 0.5  # that a batch is mixed


def box(side: int, share: float, centre: int) -> tuple[int, int]:
    """Return where a box begins and ends along a side, cut off at its edges.

    share: of the area of the image that a whole box leaves as it is; centre: of the box.
    """
    half = int(side * (1 - share) ** 0.5) // 2
    return max(0, centre - half), min(side, centre + half)


class CutMix:
    """Mix half of the batches. num_classes: K; rng: see utils.Rng."""

    def __init__(self, num_classes: int, rng):
        self.num_classes, self.rng = num_classes, rng

    def __call__(
        self, images: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (N, C, H, W) and the probability of each class (N, K).

        labels: classes (N,), or probabilities (N, K).
        """
        targets = labels
        if labels.ndim == 1:
            targets = F.one_hot(labels, self.num_classes).to(images.dtype)
        chosen, share, *centre = torch.rand(4, generator=self.rng.host_generator).tolist()
        if chosen >= PROBABILITY:
            return images, targets

        # One box for the whole batch, and another order of its images.
        height, width = images.shape[2:]
        top, bottom = box(height, share, int(centre[0] * height))
        left, right = box(width, share, int(centre[1] * width))
        device, generator = images.device, self.rng.generator
        order = torch.randperm(len(images), generator=generator, device=device)
        mixed = images.clone()
        mixed[:, :, top:bottom, left:right] = images[order, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, kept * targets + (1 - kept) * targets[order]
