"""The public data sets, a row each, and readers of arrays in Keras layout.

A reader returns {'x_train', 'y_train', 'x_test', 'y_test'}: uint8 images (N, H, W) or (N, H, W, C)
and whole numbers as labels (N,).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torchvision
from PIL import Image

from storage.files import check_file
from utils import UserError, printable

IMAGE_SUFFIXES = (
    '.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm',
)  # fmt: skip


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz archive; raise UserError if it cannot be read."""
    check_file(path, 'data set')
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except MemoryError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise UserError(
            f'{path} cannot be read as an .npz archive: it is truncated, damaged, of another '
            'format, or holds Python objects; np.savez(file, x_train=…) writes one'
        ) from error
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):  # another file within the archive
            raise UserError(f'{path}: {key!r} is no array; np.savez(file, x_train=…) writes them')
    return arrays


def read_digits(data_path) -> dict[str, np.ndarray]:
    """Return scikit-learn's real 8x8 digits, always split alike: 1347 to train on, 450 to test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, labels, test_size=450, stratify=labels, random_state=0
    )
    return {'x_train': x_train, 'y_train': y_train, 'x_test': x_test, 'y_test': y_test}


def from_torchvision(name: str, train={'train': True}, test={'train': False}):  # noqa: B006
    """Return the reader of <data_path>/<name>.npz or, without it, of torchvision's download.

    train, test: the arguments with which torchvision's class of this name gives each part.
    """

    def read(data_path) -> dict[str, np.ndarray]:
        path = Path(data_path) / f'{name.lower()}.npz'
        if path.is_file():
            return read_npz(path)
        arrays = {}
        for split, chosen in (('train', train), ('test', test)):
            try:
                part = getattr(torchvision.datasets, name)(str(data_path), download=True, **chosen)
            except Exception as error:  # URLError, RuntimeError, OSError …, by mirror and version
                raise UserError(
                    f'{name} is not on disk and cannot be downloaded ({error}); put it at {path} '
                    '(x_train, y_train, x_test, y_test), '
                    'or use --dataset Digits, which needs no download'
                ) from error
            pixels = np.asarray(part.data)
            channels_first = pixels.ndim == 4 and pixels.shape[3] not in (1, 3)
            arrays[f'x_{split}'] = pixels.transpose(0, 2, 3, 1) if channels_first else pixels
            labels = part.targets if hasattr(part, 'targets') else part.labels
            arrays[f'y_{split}'] = np.asarray(labels)
        return arrays

    return read


def read_image(path, im_size):
    """Return an image file as uint8 (H, W) or (H, W, 3), resized to a square if im_size."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith('I;16'):  # convert() would cut off at 255
                image = Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
            if image.mode in ('I', 'F'):
                raise ValueError('pixels of 32 bits; save it with 8 or 16')
            image = image.convert('L' if image.mode in ('1', 'L') else 'RGB')
            return np.asarray(
                image.resize((im_size, im_size), Image.Resampling.BICUBIC) if im_size else image
            )
    except MemoryError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error …, by format and damage
        reason = printable(error).partition('\n')[0]
        raise UserError(f'{path} cannot be read as an image ({reason})') from error


def read_folder(folder, im_size):
    """Return arrays and class names from the images folder/{train,test}/<class>/*.

    Grey images among coloured ones become coloured.
    """
    for split in ('train', 'test'):
        if not (folder / split).is_dir():
            needs = 'it needs train/<class>/* and test/<class>/* images'
            raise UserError(f'{folder} has no folder {split!r}; {needs}')
    names = sorted(path.name for path in (folder / 'train').iterdir() if path.is_dir())
    if not names:
        raise UserError(f'{folder}/train has no class folders')
    unknown = [p.name for p in (folder / 'test').iterdir() if p.is_dir() and p.name not in names]
    if unknown:
        raise UserError(f'{folder}/test has the class {unknown[0]!r}, which train has not')
    images, arrays = {}, {}
    for split in ('train', 'test'):
        paths = [
            (path, label)
            for label, name in enumerate(names)
            for path in sorted((folder / split / name).glob('*'))
            if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
        ]
        empty = set(range(len(names))) - {label for _, label in paths}
        if empty:
            raise UserError(
                f'{folder}/{split}/{names[min(empty)]} has no images ({" ".join(IMAGE_SUFFIXES)})'
            )
        images[split] = [(path, read_image(path, im_size)) for path, _ in paths]
        arrays[f'y_{split}'] = np.array([label for _, label in paths])
    colour = any(image.ndim == 3 for part in images.values() for _, image in part)
    first_path, first = images['train'][0]
    for split, part in images.items():
        for path, image in part:
            if image.shape[:2] != first.shape[:2]:
                raise UserError(
                    f'{path} has {image.shape[1]}x{image.shape[0]} pixels, {first_path.name} '
                    f'{first.shape[1]}x{first.shape[0]}; pass --im_size N to resize them all'
                )
        pixels = [
            np.repeat(image[..., None], 3, 2) if colour and image.ndim == 2 else image
            for _, image in part
        ]
        arrays[f'x_{split}'] = np.stack(pixels)
    return arrays, tuple(names)


@dataclass(frozen=True)
class Source:
    """What is known of a public data set.

    read: folder of the data sets -> arrays; mean, std: of the training pixels in [0, 1], a channel
    each; mirrored: the mirror image of an image belongs to the same class; dc_augmentation: how
    DC's authors augment to train on a set condensed from it.
    """

    read: Callable[[str | Path], dict[str, np.ndarray]]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    mirrored: bool = True
    dc_augmentation: str = 'None'


CIFAR10 = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
FASHION = (
    'T-shirt', 'trouser', 'pullover', 'dress', 'coat', 'sandal', 'shirt', 'sneaker', 'bag', 'boot',
)  # fmt: skip
SVHN_PARTS = {'split': 'train'}, {'split': 'test'}

DATASETS = {
    'Digits': Source(read_digits, (0.3053,), (0.3758,), mirrored=False),
    'MNIST': Source(
        from_torchvision('MNIST'), (0.1307,), (0.3081,), mirrored=False,
        dc_augmentation='crop_scale_rotate',
    ),
    'FashionMNIST': Source(from_torchvision('FashionMNIST'), (0.2861,), (0.3530,), FASHION),
    'SVHN': Source(
        from_torchvision('SVHN', *SVHN_PARTS), (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970),
        mirrored=False,
    ),
    'USPS': Source(from_torchvision('USPS'), (0.2539,), (0.3842,), mirrored=False),
    'CIFAR10': Source(
        from_torchvision('CIFAR10'), (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), CIFAR10
    ),
    'CIFAR100': Source(
        from_torchvision('CIFAR100'), (0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)
    ),
}  # fmt: skip


def source_of(dataset: str) -> Source | None:
    """Return the row of a data set by its name or path, None if it is the user's own."""
    return DATASETS.get(Path(dataset).stem)


def dsa_strategy(dataset: str) -> str:
    """Return the DSA strategy published for a data set; own data gets all six operations."""
    source = source_of(dataset)
    flip = 'flip_' if source is None or source.mirrored else ''
    return f'color_crop_cutout_{flip}scale_rotate'
