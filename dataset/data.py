"""A data set as uint8 tensors that are on the device once: load_dataset('CIFAR10', 'data').

A name of DATASETS is read from <data_path>/<name>.npz (Keras layout: x_train, y_train, x_test,
y_test) if that file exists, else through torchvision, which downloads it. `Digits` (scikit-learn,
8x8 pixels) needs neither. Own data: the path of an .npz, or of a folder with train/<class>/* and
test/<class>/*.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.readers import DATASETS, read_folder, read_npz, source_of
from processes import ranks
from utils import UserError


class Data:
    """A data set on a device.

    pixels_train, pixels_test: (N, C, H, W) uint8; labels_train, labels_test: (N,) int64;
    indices_class[c]: the positions of class c in the training set; mean, std: (1, C, 1, 1) of
    pixels in [0, 1]; class_names: K strings.
    """

    def __init__(
        self,
        name: str,
        arrays: dict[str, np.ndarray],
        class_names: tuple[str, ...] = (),
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        device: str | torch.device = 'cpu',
    ):
        self.name = name
        _check(name, arrays)
        self.pixels_train, self.pixels_test = (
            _to_tensor(arrays[f'x_{split}'], device) for split in ('train', 'test')
        )
        self.labels_train, self.labels_test = (
            torch.as_tensor(arrays[f'y_{split}'].reshape(-1).astype(np.int64), device=device)
            for split in ('train', 'test')
        )
        self.num_classes = int(self.labels_train.max()) + 1
        self.class_names = tuple(class_names) or tuple(str(c) for c in range(self.num_classes))
        self.indices_class = [
            torch.nonzero(self.labels_train == c).flatten() for c in range(self.num_classes)
        ]
        if not mean:
            mean, std = _statistics(self.pixels_train)
        self.mean, self.std = (
            torch.tensor(value, device=device).view(1, -1, 1, 1) for value in (mean, std)
        )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of an image."""
        return tuple(self.pixels_train.shape[1:])

    @functools.cached_property
    def fingerprint(self) -> str:
        """Return a hash of all pixels and labels: other data of the same name have another."""
        digest = hashlib.blake2b(digest_size=8)
        for part in (self.pixels_train, self.labels_train, self.pixels_test, self.labels_test):
            digest.update(str(tuple(part.shape)).encode())
            digest.update(np.ascontiguousarray(part.cpu().numpy()))
        return digest.hexdigest()

    @property
    def mirrored(self) -> bool:
        """Tell whether the mirror image of an image belongs to the same class."""
        source = source_of(self.name)
        return source is None or source.mirrored

    @property
    def device(self) -> torch.device:
        """Return where all tensors are."""
        return self.pixels_train.device

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return uint8 pixels (N, C, H, W) as normalised images."""
        return (pixels.float().div_(255) - self.mean) / self.std

    def images(self, index: torch.Tensor) -> torch.Tensor:
        """Return the normalised training images at index (N,)."""
        return self.normalise(self.pixels_train[index])

    def viewable(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised images as pixels in [0, 1], clamped, on the CPU."""
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return (images.detach() * std + mean).clamp(0, 1).cpu()


def _to_tensor(pixels, device):
    grey = pixels.ndim == 3 or pixels.shape[3] == 1
    pixels = pixels.reshape(pixels.shape[:3])[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)


def _statistics(pixels):
    """Return mean and std per channel of uint8 pixels in [0, 1].

    They come from a histogram, which needs no float copy.
    """
    values = torch.arange(256, dtype=torch.float64, device=pixels.device) / 255
    counts = torch.stack(
        [torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(1)]
    ).double()
    weights = counts / counts.sum(1, keepdim=True)
    mean = weights @ values
    std = ((weights @ values**2) - mean**2).clamp(min=0).sqrt()
    return mean.tolist(), std.clamp(min=1 / 255).tolist()


def _check(name, arrays):
    """Raise UserError unless arrays is an image set with every class in the training part."""
    for split in ('train', 'test'):
        for key, kinds, rule in (
            (f'x_{split}', 'u', 'uint8 pixels'),
            (f'y_{split}', 'iu', 'whole numbers'),
        ):
            if key not in arrays:
                raise UserError(
                    f'{name}: no array {key!r}; '
                    'it needs x_train, y_train, x_test and y_test (Keras layout)'
                )
            if arrays[key].dtype.kind not in kinds or (
                key[0] == 'x' and arrays[key].dtype != np.uint8
            ):
                raise UserError(f'{name}: {key} has dtype {arrays[key].dtype}; it must hold {rule}')
        images, labels = arrays[f'x_{split}'], arrays[f'y_{split}']
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
            raise UserError(
                f'{name}: x_{split} has shape {images.shape}; '
                'it must be (N, H, W) or (N, H, W, 1 or 3)'
            )
        shape, shape_train = images.shape[1:], arrays['x_train'].shape[1:]
        if shape != shape_train:
            raise UserError(f'{name}: test images are {shape}, training images {shape_train}')
        if images.size == 0 and len(images):
            raise UserError(f'{name}: x_{split} has shape {images.shape}: images without a pixel')
        if len(images) == 0 or labels.size != len(images):
            raise UserError(
                f'{name}: {len(images)} images but {labels.size} labels in the {split} part'
            )
        num_classes = int(arrays['y_train'].max()) + 1
        if num_classes > arrays['y_train'].size:
            raise UserError(
                f'{name}: y_train goes up to {num_classes - 1}, with fewer images than classes'
            )
        if labels.min() < 0 or labels.max() >= num_classes:
            raise UserError(
                f'{name}: y_{split} runs from {labels.min()} to {labels.max()}; '
                f'with this training part labels must lie in 0 … {num_classes - 1}'
            )
    counts = np.bincount(arrays['y_train'].reshape(-1))
    if (counts == 0).any():
        raise UserError(f'{name}: class {int(np.argmin(counts))} has no training image')


def _resized(pixels, im_size):
    return np.stack(
        [
            np.asarray(
                Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).resize(
                    (im_size, im_size), Image.Resampling.BICUBIC
                )
            )
            for image in pixels
        ]
    )


def load_dataset(
    name: str,
    data_path: str | Path = 'data',
    im_size: int | None = None,
    device: str | torch.device = 'cpu',
) -> Data:
    """Load a data set by name, .npz path or folder onto a device; im_size resizes to a square.

    Raises UserError for whatever cannot be found, downloaded, read or used.
    """
    source, path = DATASETS.get(name), Path(name)
    class_names = source.class_names if source else ()
    if source:
        arrays = ranks.first(lambda: source.read(data_path))  # one downloads
    elif path.is_file():
        arrays = read_npz(path)
    elif path.is_dir():
        arrays, class_names = read_folder(path, im_size)
    else:
        raise UserError(
            f'unknown data set {name!r}: no such file or folder; known names: {", ".join(DATASETS)}'
        )
    if im_size:
        _check(name if source else str(path), arrays)
        for key in ('x_train', 'x_test'):
            if arrays[key].shape[1:3] != (im_size, im_size):
                arrays[key] = _resized(arrays[key], im_size)
    mean, std = (source.mean, source.std) if source else ((), ())
    return Data(name if source else path.stem, arrays, class_names, mean, std, device)
