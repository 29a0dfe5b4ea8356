"""ZCA whitening: remove what neighbouring pixels have in common, as several methods do first.

With the covariance C = U S Uᵀ of all training images in [0, 1], an image x becomes
(x − mean) U (S + ε)^(−1/2) Uᵀ. ε = 0.1, as in MTT (Cazenavette et al., CVPR 2022) and after it.
"""

import torch

EPSILON = 0.1
MOST = 2**14  # values of an image: of so many the matrix has 1 GiB


class Whitening:
    """Whiten images (N, C, H, W) on a device, and undo it.

    It is fitted on pixels (N, C, H, W), uint8, wherever they are; device None: on theirs.
    """

    def __init__(self, pixels: torch.Tensor, device: torch.device | None = None):
        def parts():
            # In double precision: small eigenvalues are differences of large numbers.
            for part in pixels.split(1000):
                yield part.to(device or pixels.device).flatten(1).double() / 255

        num, scatter = len(pixels), 0
        self.mean = sum(part.sum(0) for part in parts()) / num
        for part in parts():
            centred = part - self.mean
            scatter = scatter + centred.T @ centred
        scales, directions = torch.linalg.eigh(scatter / (num - 1))
        root = (scales.clamp(min=0) + EPSILON).sqrt()
        self.matrix = (directions / root @ directions.T).float()
        self.inverse = (directions * root @ directions.T).float()
        self.mean = self.mean.float()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return images in [0, 1] whitened."""
        return ((images.flatten(1) - self.mean) @ self.matrix).view_as(images)

    def undo(self, images: torch.Tensor) -> torch.Tensor:
        """Return whitened images as pixels; those of no real image may lie beyond [0, 1]."""
        inverse, mean = (part.to(images.device) for part in (self.inverse, self.mean))
        return (images.flatten(1) @ inverse + mean).view_as(images)
