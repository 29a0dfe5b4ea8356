"""How a synthetic set begins: its images and its labels, class after class."""

import torch

from dataset.data import Data
from methods.sampling import UniformSampler
from utils import Rng, UserError


def check_ipc(data: Data, ipc: int) -> None:
    """Raise UserError if a class has fewer than ipc images to choose from."""
    smallest = min(len(members) for members in data.indices_class)
    if ipc > smallest:
        raise UserError(
            f'--ipc {ipc} is more than the smallest class of {data.name} has ({smallest} images)'
        )


def initial_images(data: Data, ipc: int, init: str, rng: Rng) -> torch.Tensor:
    """Draw (K * I, C, H, W): 'noise' N(0, 1) in normalised space, 'real' random training images.

    Raises UserError when a class has fewer than ipc images and init is 'real'.
    """
    if init == 'noise':
        shape = (data.num_classes * ipc, *data.shape)
        return torch.randn(shape, generator=rng.generator, device=rng.generator.device)
    smallest = min(range(data.num_classes), key=lambda c: len(data.indices_class[c]))
    num = len(data.indices_class[smallest])
    if num < ipc:
        name = data.class_names[smallest]
        raise UserError(
            f'--init real needs {ipc} images in every class, but class {name!r} has {num}; '
            'use a smaller --ipc or --init noise'
        )
    sampler = UniformSampler(data)
    return torch.cat([data.images(sampler.draw(c, ipc, rng)) for c in range(data.num_classes)])


def initial_labels(data: Data, ipc: int) -> torch.Tensor:
    """Return the labels (K * I,): ipc times each class."""
    return torch.arange(data.num_classes, device=data.device).repeat_interleave(ipc)
