"""How stored pixels become images: one stored image holds factor x factor tiles.

Each tile is enlarged to full size, so the same number of stored pixels gives factor² times as many
images (IDC: Kim et al., ICML 2022, arXiv 2205.14959). Their labels are those of the stored image.

    python main.py --method DC --factor 2 --init mix --level inter
"""

import torch
import torch.nn.functional as F
from torch import nn

from engine.training import load_optimizer
from utils import UserError


class Tiles:
    """Tiles of stored images: factor a side, of images (C, H, W) = shape that net sees.

    Raises UserError if the factor does not divide a side, or if net halves images by pooling so
    often that less than a pixel of a tile is left. (Convolutions with stride are not counted.)
    """

    def __init__(self, factor: int, shape: tuple[int, int, int], net: nn.Module | None = None):
        self.factor, self.size = factor, shape[1:]
        height, width = self.size
        if height % factor or width % factor:
            raise UserError(
                f'--factor {factor} does not divide images of {height}x{width} pixels into whole '
                'tiles; use a divisor of the sides, or another --im_size'
            )
        modules = net.modules() if net else ()
        pools = [module for module in modules if isinstance(module, (nn.AvgPool2d, nn.MaxPool2d))]
        least = 2 ** len(pools)
        if factor > 1 and min(height, width) // factor < least:
            raise UserError(
                f'--factor {factor} leaves tiles of {height // factor}x{width // factor} pixels, '
                f'but the network halves an image {len(pools)} times: a tile needs {least} pixels'
            )

    def decode(self, stored: torch.Tensor) -> torch.Tensor:
        """Return the images (N f², C, H, W) of stored (N, C, H, W), differentiably.

        A tile is enlarged bilinearly. The tiles of an image follow each other, row after row.
        """
        if self.factor == 1:
            return stored
        num, channels, height, width = stored.shape
        rows, columns = height // self.factor, width // self.factor
        tiles = stored.reshape(num, channels, self.factor, rows, self.factor, columns)
        tiles = tiles.permute(0, 2, 4, 1, 3, 5)  # (N, f, f, C, H / f, W / f)
        tiles = tiles.reshape(-1, channels, rows, columns)
        return F.interpolate(tiles, self.size, mode='bilinear', align_corners=False)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Shrink images (N f², C, H, W) to the tiles of stored (N, C, H, W): means of f x f."""
        if self.factor == 1:
            return images
        tiles = F.avg_pool2d(images, self.factor)
        channels, rows, columns = tiles.shape[1:]
        tiles = tiles.reshape(-1, self.factor, self.factor, channels, rows, columns)
        return tiles.permute(0, 3, 1, 4, 2, 5).reshape(-1, *images.shape[1:])

    def labels(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the labels (N f², …) of the images decoded from stored ones with labels (N, …)."""
        return labels.repeat_interleave(self.factor**2, 0)


class LearnedTiles:
    """What methods share that learn images in tiles: the set, and where they continue.

    A method has tiles, image_syn (K * I, C, H, W), label_syn (K * I,), optimizer_img, rng and
    iteration.
    """

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I f², C, H, W), class after class, and labels."""
        return self.tiles.decode(self.image_syn.detach()), self.tiles.labels(self.label_syn)

    @property
    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the images are decoded from (K * I, C, H, W), and labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue exactly here."""
        return {
            'image_syn': self.image_syn,
            'optimizer_img': self.optimizer_img.state_dict(),
            'rng': self.rng.state_dict(),
            'iteration': self.iteration,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        load_optimizer(self.optimizer_img, state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        self.iteration = state['iteration']
