"""The public data sets, a row each: where their arrays are, and what is known of them.

A reader returns {'x_train', 'y_train', 'x_test', 'y_test'}: uint8 images (N, H, W) or (N, H, W, C)
and whole numbers as labels (N,).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.arrays import own_arrays
from dataset.on_disk import read_on_disk
from utils import UserError


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
    """Return the reader of <data_path>/<name>.npz, else of its authors' files, else a download.

    train, test: the arguments with which torchvision's class of this name gives each part.
    """

    def read(data_path) -> dict[str, np.ndarray]:
        path = Path(data_path) / f'{name.lower()}.npz'
        if path.is_file():
            return own_arrays(path, name)[0]
        arrays = read_on_disk(name, data_path, DATASETS[name].mean[0])
        if arrays:
            return arrays
        import torchvision  # here: it takes as long to import as all the rest

        arrays = {}
        for split, chosen in (('train', train), ('test', test)):
            try:
                part = getattr(torchvision.datasets, name)(str(data_path), download=True, **chosen)
            except Exception as error:  # URLError, RuntimeError, OSError …, by mirror and version
                reason = ' '.join(str(error).split())  # torchvision's has a line a mirror
                raise UserError(
                    f'{name} is not on disk and cannot be downloaded ({reason}); put it at {path} '
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
    """Return the row of a data set by its name, None if it is the user's own: a path always is."""
    return DATASETS.get(dataset)


def dsa_strategy(dataset: str) -> str:
    """Return the DSA strategy published for a data set; own data gets all six operations."""
    source = source_of(dataset)
    flip = 'flip_' if source is None or source.mirrored else ''
    return f'color_crop_cutout_{flip}scale_rotate'
