"""A data set as uint8 tensors, moved to the device once: load_dataset('CIFAR10', 'data').

A name of DATASETS is read from <data_path>/<name>.npz (Keras layout: x_train, y_train, x_test,
y_test) if that file exists, else from its authors' files there, else through torchvision, which
downloads it. `Digits` (scikit-learn, 8x8 pixels) needs neither. Own data: the path of an .npz, of a
folder of pictures, or of parquet files (docs/own_data.md).
"""

import functools
import hashlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.arrays import own_arrays, tidy
from dataset.checks import check_arrays
from dataset.folders import read_folder
from dataset.names import is_known, name_of
from dataset.parquet import parquet_files, read_parquet
from dataset.parts import say
from dataset.pictures import bar, resized
from dataset.readers import DATASETS, source_of
from dataset.whitening import MOST, Whitening
from processes import ranks
from utils import UserError, plural


class Data:
    """A data set on a device; data_device: where its pixels are kept, if elsewhere.

    pixels_train, pixels_test: (N, C, H, W) uint8; labels_train, labels_test: (N,) int64;
    indices_class[c]: the positions of class c in the training set; mean, std: (1, C, 1, 1) of
    pixels in [0, 1]; class_names: K strings; whitening: of ZCA, None without it.
    """

    def __init__(
        self,
        name: str,
        arrays: dict[str, np.ndarray],
        class_names: tuple[str, ...] = (),
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        device: str | torch.device = 'cpu',
        zca: bool = False,
        data_device: str | None = None,
    ):
        self.name = name
        check_arrays(name, arrays)
        self.pixels_train, self.pixels_test = (
            _to_tensor(arrays[f'x_{split}'], data_device or device) for split in ('train', 'test')
        )
        labels = [arrays[f'y_{split}'].reshape(-1).astype(np.int64) for split in ('train', 'test')]
        self.labels_train, self.labels_test = (
            torch.as_tensor(part, device=device) for part in labels
        )
        self.num_classes = int(labels[0].max()) + 1
        self.class_names = tuple(class_names) or tuple(str(c) for c in range(self.num_classes))
        self.indices_class = [
            torch.as_tensor(np.flatnonzero(labels[0] == c), device=device)
            for c in range(self.num_classes)
        ]
        if not mean:
            mean, std = _statistics(self.pixels_train)
        elif len(mean) != self.pixels_train.shape[1]:
            raise UserError(
                f'{name} has {plural(len(mean), "channel")}, the images that were found have '
                f'{self.pixels_train.shape[1]}: pass data of your own by its path'
            )
        self.mean, self.std = (
            torch.tensor(value, device=device).view(1, -1, 1, 1) for value in (mean, std)
        )
        if zca and self.pixels_train[0].numel() > MOST:
            raise UserError(
                f'--zca: images of {self.shape} are too large for its matrix; --im_size'
            )
        self.whitening = Whitening(self.pixels_train, self.device) if zca else None

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
        digest.update(b'zca' if self.whitening else b'')
        return digest.hexdigest()

    @property
    def mirrored(self) -> bool:
        """Tell whether the mirror image of an image belongs to the same class."""
        source = source_of(self.name)
        return source is None or source.mirrored

    @property
    def device(self) -> torch.device:
        """Return where networks see the images; the pixels may be kept elsewhere."""
        return self.labels_train.device

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return uint8 pixels (N, C, H, W) as normalised, or whitened, images on the device."""
        pixels = pixels.to(self.device).float().div_(255)  # moved as bytes: a quarter of floats
        return self.whitening(pixels) if self.whitening else (pixels - self.mean) / self.std

    def pixels(self, index: torch.Tensor) -> torch.Tensor:
        """Return the training pixels at index (N,), where they are kept."""
        return self.pixels_train[index.to(self.pixels_train.device)]

    def images(self, index: torch.Tensor) -> torch.Tensor:
        """Return the normalised training images at index (N,)."""
        return self.normalise(self.pixels(index))

    def viewable(self, images: torch.Tensor) -> torch.Tensor:
        """Return normalised, or whitened, images as pixels in [0, 1], clamped, on the CPU."""
        if self.whitening:
            return self.whitening.undo(images.detach()).clamp(0, 1).cpu()
        mean, std = self.mean.to(images.device), self.std.to(images.device)
        return (images.detach() * std + mean).clamp(0, 1).cpu()


class RealImages:
    """All training images of data, normalised a batch at a time: no float copy of them all is made.

    What engine.training.train_epoch asks of a set's images is all that they offer.
    """

    def __init__(self, data: Data):
        self.data, self.device = data, data.device

    def __len__(self):
        return len(self.data.labels_train)

    def __getitem__(self, index: torch.Tensor) -> torch.Tensor:
        """Return the normalised images at index (N,)."""
        return self.data.images(index)


def _to_tensor(pixels, device):
    grey = pixels.ndim == 3 or pixels.shape[3] == 1
    pixels = pixels.reshape(pixels.shape[:3])[:, None] if grey else pixels.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(pixels)).to(device)


def _statistics(pixels):
    """Return mean and std per channel of uint8 pixels in [0, 1].

    They come from a histogram, which needs no float copy.
    """
    values = torch.arange(256, dtype=torch.float64, device=pixels.device) / 255
    counts = torch.zeros(pixels.shape[1], 256, dtype=torch.int64, device=pixels.device)
    for part in pixels.split(10000):  # to flatten a channel copies it
        for channel, count in zip(part.unbind(1), counts, strict=True):
            count += torch.bincount(channel.flatten(), minlength=256)
    counts = counts.double()
    weights = counts / counts.sum(1, keepdim=True)
    mean = weights @ values
    std = ((weights @ values**2) - mean**2).clamp(min=0).sqrt()
    return mean.tolist(), std.clamp(min=1 / 255).tolist()


def _resized(pixels, im_size, squash):
    """Return images in Keras layout, resized to a square."""
    result = np.empty((len(pixels), im_size, im_size, *pixels.shape[3:]), np.uint8)
    for place, image in zip(result, bar(pixels, 'resize', len(pixels)), strict=True):
        grey = image.ndim == 3 and image.shape[2] == 1
        picture = Image.fromarray(image[..., 0] if grey else image)
        new = np.asarray(resized(picture, im_size, squash))
        place[:] = new[..., None] if grey else new
    return result


def _read_own(name, data_path, im_size, squash):
    """Return arrays and class names of the user's own data."""
    path, in_folder, called = Path(name), Path(data_path) / name, name_of(name)
    if not path.exists() and in_folder.exists():
        path = in_folder
    if not path.exists():
        meant = [known for known in DATASETS if _letters(known) == _letters(name)]
        raise UserError(
            f'unknown data set {name!r}: no such file or folder; '
            + (f'did you mean {meant[0]}?' if meant else f'known names: {", ".join(DATASETS)}')
        )
    known = called.removeprefix('own-')
    if is_known(known):
        say(
            called,
            f'{path} is read as own data: flips, statistics and protocol are not those of the '
            f'known data set {known!r}; name that without a path, and its folder by --data_path',
        )
    if parquet_files(path):
        arrays, names = read_parquet(path, called, im_size, squash)
        arrays, found = tidy(path, called, arrays)
        return arrays, found or names
    if path.is_dir():
        return read_folder(path, im_size, squash)
    return own_arrays(path, called)


def _letters(name):
    """Return the letters and digits of a name, in lower case."""
    return ''.join(filter(str.isalnum, name.casefold()))


def load_dataset(
    name: str,
    data_path: str | Path = 'data',
    im_size: int | None = None,
    device: str | torch.device = 'cpu',
    resize: str | None = None,
    zca: bool = False,
    data_device: str | None = None,
) -> Data:
    """Load a data set by name or path onto a device; im_size resizes to a square.

    resize: 'squash' to change the shape of images that are no squares; else their centre is taken.
    zca: whiten them (dataset/whitening.py); data_device: where its pixels are kept, if elsewhere.
    Raises UserError for whatever cannot be found, downloaded, read or used.
    """
    source, squash = DATASETS.get(name), resize == 'squash'
    if squash and not im_size:
        raise UserError('--resize squash does nothing without --im_size N: pass both')
    if source:
        arrays = ranks.first(lambda: source.read(data_path))  # one downloads
        class_names, mean, std = source.class_names, source.mean, source.std
    else:
        arrays, class_names = _read_own(name, data_path, im_size, squash)
        mean, std = (), ()
    if im_size:
        check_arrays(name, arrays, im_size)
        for key in ('x_train', 'x_test'):
            if arrays[key].shape[1:3] != (im_size, im_size):
                arrays[key] = _resized(arrays[key], im_size, squash)
    return Data(name_of(name), arrays, class_names, mean, std, device, zca, data_device)
