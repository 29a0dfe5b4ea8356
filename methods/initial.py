"""How a synthetic set begins: its images and its labels, class after class."""

import torch

from data import Data
from device import Rng
from errors import UserError
from methods.sampling import UniformSampler


def initial_images(data: Data, ipc: int, init: str, rng: Rng) -> torch.Tensor:
    """Draw (K * I, C, H, W): for init 'noise' N(0, 1) in normalised space, for 'real' random training images.

    Raises UserError when a class has fewer than ipc images and init is 'real'.
    """
    if init == 'noise':
        shape = (data.num_classes * ipc, *data.shape)
        return torch.randn(shape, generator=rng.device, device=rng.device.device)
    smallest = min(range(data.num_classes), key=lambda c: len(data.indices_class[c]))
    if len(data.indices_class[smallest]) < ipc:
        raise UserError(
            f'--init real needs {ipc} images in every class, but class {data.class_names[smallest]!r} has '
            f'{len(data.indices_class[smallest])}; use a smaller --ipc or --init noise'
        )
    sampler = UniformSampler(data)
    return torch.cat([data.images(sampler.draw(c, ipc, rng)) for c in range(data.num_classes)])


def initial_labels(data: Data, ipc: int) -> torch.Tensor:
    """Return the labels (K * I,): ipc times each class."""
    return torch.arange(data.num_classes, device=data.device).repeat_interleave(ipc)
