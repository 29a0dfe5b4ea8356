"""Augmentation as tensor code: draw once, apply to any batch.

`Augmentation.draw(num)` draws one operation of the strategy and its parameters and returns a
transform, a differentiable pure function images -> images. With num=1 all images share the
parameters. The same transform of a real and a synthetic batch is then the siamese augmentation of
DSA (Zhao & Bilen, ICML 2021, arXiv 2102.08259). With num=N every image of a batch of N has its own.
`DSA` and `DC` below hold the operations of the two papers, with the published strengths.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F

from utils import UserError

Transform = Callable[[torch.Tensor], torch.Tensor]


# Operations: images (N, C, H, W) and parameters with a leading dimension of 1 (shared) or N (one an
# image).


def _pick(images, rows, cols, fill):
    """Gather pixels images[n, :, rows[n, y], cols[n, x]]; outside is fill (C or 1 values)."""
    num, channels, height, width = images.shape
    rows, cols = rows.expand(num, -1), cols.expand(num, -1)
    inside = ((rows >= 0) & (rows < height))[:, None, :, None] & ((cols >= 0) & (cols < width))[
        :, None, None, :
    ]
    rows = rows.clamp(0, height - 1)[:, None, :, None].expand(-1, channels, -1, width)
    cols = cols.clamp(0, width - 1)[:, None, None, :].expand(-1, channels, height, -1)
    return torch.where(inside, images.gather(2, rows).gather(3, cols), fill.view(1, -1, 1, 1))


def _warp(images, matrix, mode='bilinear'):
    """Sample images at matrix (1 or N, 2, 3) times the output grid of [-1, 1]; outside is 0."""
    grid = F.affine_grid(
        matrix.expand(len(images), -1, -1), list(images.shape), align_corners=False
    )
    return F.grid_sample(images, grid, mode=mode, padding_mode='zeros', align_corners=False)


def brightness(images, shift):
    """Add shift (n,)."""
    return images + shift.view(-1, 1, 1, 1)


def saturation(images, factor):
    """Scale the distance of each pixel to its mean over channels by factor (n,)."""
    mean = images.mean(dim=1, keepdim=True)
    return (images - mean) * factor.view(-1, 1, 1, 1) + mean


def contrast(images, factor):
    """Scale the distance of each pixel to the mean of its image by factor (n,)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * factor.view(-1, 1, 1, 1) + mean


def color(images, shift, saturation_factor, contrast_factor):
    """Change brightness, saturation and contrast in turn."""
    return contrast(saturation(brightness(images, shift), saturation_factor), contrast_factor)


def crop(images, shift_y, shift_x, fill=None):
    """Move the window by (shift_y, shift_x) pixels (n,); what comes in is 0, or fill (C,)."""
    rows = torch.arange(images.shape[2], device=images.device) + shift_y[:, None]
    cols = torch.arange(images.shape[3], device=images.device) + shift_x[:, None]
    return _pick(images, rows, cols, images.new_zeros(1) if fill is None else fill)


def cutout(images, center_y, center_x, ratio=0.5):
    """Set to 0 what a box of ratio x side around (center_y, center_x) (n,) covers."""
    keep = []
    for side, center in ((images.shape[2], center_y), (images.shape[3], center_x)):
        length = int(side * ratio + 0.5)
        distance = torch.arange(side, device=images.device) - (center[:, None] - length // 2)
        keep.append((distance < 0) | (distance >= length))
    return images * (keep[0][:, None, :, None] | keep[1][:, None, None, :])


def flip(images, flips):
    """Mirror left to right where flips (n,) is true."""
    return torch.where(flips.view(-1, 1, 1, 1), images.flip(3), images)


def scale(images, scale_y, scale_x):
    """Sample a window scale_y, scale_x (n,) times as large as the image: below 1 enlarges."""
    zero = torch.zeros_like(scale_x)
    rows = [torch.stack([scale_x, zero, zero], 1), torch.stack([zero, scale_y, zero], 1)]
    return _warp(images, torch.stack(rows, 1))


def rotate(images, angle, mode='bilinear', fill=None):
    """Rotate by angle (n,) in radian; corners become 0, or fill (a scalar)."""
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    if fill is None:
        return _warp(images, matrix, mode)
    return _warp(images - fill, matrix, mode) + fill


def resize_nearest(images, ratio_y, ratio_x):
    """Resize by ratio (n,) with nearest neighbours, then cut or zero-pad around the centre."""
    places = []
    for side, ratio in ((images.shape[2], ratio_y), (images.shape[3], ratio_x)):
        resized = (ratio * side).long()[:, None]
        place = torch.arange(side, device=images.device) + torch.div(
            resized - side, 2, rounding_mode='trunc'
        )
        source = torch.div(place * side, resized, rounding_mode='floor')
        places.append(source.where((place >= 0) & (place < resized), torch.full_like(source, -1)))
    return _pick(images, *places, images.new_zeros(1))


def one_of(images, choice, transforms):
    """Apply to image n the transform number choice[n]."""
    result = images
    for number, transform in enumerate(transforms):
        result = torch.where((choice == number).view(-1, 1, 1, 1), transform(images), result)
    return result


class Augmentation:
    """Draw transforms of a strategy, the names of operations joined by '_'.

    shape: (C, H, W) of an image; rng: see utils.Rng. Raises UserError for an unknown operation.
    """

    OPERATIONS: tuple[str, ...] = ()

    def __init__(self, strategy: str, shape: tuple[int, int, int], rng):
        self.names = [] if strategy == 'None' else strategy.split('_')
        self.shape, self.rng = shape, rng
        unknown = [name for name in self.names if name not in self.OPERATIONS]
        if unknown:
            raise UserError(
                f'unknown operation {unknown[0]!r} in the strategy {strategy!r}; '
                f'join any of these by "_": {", ".join(self.OPERATIONS)}; or None'
            )

    def _uniform(self, num, low, high):
        generator = self.rng.generator
        return torch.rand(num, generator=generator, device=generator.device) * (high - low) + low

    def _integers(self, num, low, high):
        generator = self.rng.generator
        return torch.randint(low, high, (num,), generator=generator, device=generator.device)


class DSA(Augmentation):
    """Differentiable siamese augmentation: one operation a batch (arXiv 2102.08259, § 4.1)."""

    OPERATIONS = ('color', 'crop', 'cutout', 'flip', 'scale', 'rotate')

    def draw(self, num: int = 1) -> Transform:
        """Draw an operation and num sets of parameters: 1 for all images, or one each."""
        if not self.names:
            return lambda images: images
        name = self.names[torch.randint(len(self.names), (), generator=self.rng.host_generator)]
        return self.operation(name, num)

    def operation(self, name: str, num: int) -> Transform:
        """Draw num sets of parameters of an operation."""
        return partial(globals()[name], **getattr(self, f'_draw_{name}')(num))

    def _draw_color(self, num):
        return {
            'shift': self._uniform(num, -0.5, 0.5),
            'saturation_factor': self._uniform(num, 0.0, 2.0),
            'contrast_factor': self._uniform(num, 0.5, 1.5),
        }

    def _draw_crop(self, num):
        shifts = [int(side * 0.125 + 0.5) for side in self.shape[1:]]
        return {
            name: self._integers(num, -shift, shift + 1)
            for name, shift in zip(('shift_y', 'shift_x'), shifts, strict=True)
        }

    def _draw_cutout(self, num):
        ends = [side + 1 - int(side * 0.5 + 0.5) % 2 for side in self.shape[1:]]
        return {
            name: self._integers(num, 0, end)
            for name, end in zip(('center_y', 'center_x'), ends, strict=True)
        }

    def _draw_flip(self, num):
        return {'flips': self._uniform(num, 0.0, 1.0) < 0.5}

    def _draw_scale(self, num):
        return {name: self._uniform(num, 1 / 1.2, 1.2) for name in ('scale_y', 'scale_x')}

    def _draw_rotate(self, num):
        return {'angle': self._uniform(num, -math.pi / 12, math.pi / 12)}


class DC(Augmentation):
    """How DC's authors augment for MNIST and ConvNetBN: each image draws its own operation."""

    OPERATIONS = ('crop', 'scale', 'rotate', 'noise')

    def draw(self, num: int = 1) -> Transform:
        """Draw an operation and its parameters for each of num images."""
        if not self.names:
            return lambda images: images
        choice = self._integers(num, 0, len(self.names))
        operations = [getattr(self, f'_draw_{name}')(num) for name in self.names]
        return partial(one_of, choice=choice, transforms=operations)

    def _draw_crop(self, num):
        shifts = {name: self._integers(num, -4, 4) for name in ('shift_y', 'shift_x')}
        return lambda images: crop(images, **shifts, fill=images.mean(dim=(0, 2, 3)))

    def _draw_scale(self, num):
        return partial(
            resize_nearest,
            ratio_y=self._uniform(num, 0.8, 1.2),
            ratio_x=self._uniform(num, 0.8, 1.2),
        )

    def _draw_rotate(self, num):
        # paper's code: a spline of order 3, one image at a time; here: bicubic, all images at once.
        angle = self._integers(num, -45, 45) * (math.pi / 180)
        return lambda images: rotate(images, angle, 'bicubic', fill=images.mean())

    def _draw_noise(self, num):
        generator = self.rng.generator
        noise = 0.001 * torch.randn(
            (num, *self.shape), generator=generator, device=generator.device
        )
        return partial(torch.add, noise)
