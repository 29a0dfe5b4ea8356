"""Read images and labels from where they lie, as uint8 arrays in Keras layout: x_train, y_train, x_test,
y_test."""

from dataclasses import dataclass

import numpy as np
import torchvision
from PIL import Image

from errors import UserError


@dataclass(frozen=True)
class Source:
    """What is known of a public data set: statistics of the training pixels in [0, 1], class names,
    torchvision class."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    torchvision: str | None = None
    class_names: tuple[str, ...] = ()


CIFAR10_CLASSES = ('airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck')
FASHION_CLASSES = (
    'T-shirt',
    'trouser',
    'pullover',
    'dress',
    'coat',
    'sandal',
    'shirt',
    'sneaker',
    'bag',
    'boot',
)
DATASETS = {
    'Digits': Source((0.3053,), (0.3758,)),
    'MNIST': Source((0.1307,), (0.3081,), 'MNIST'),
    'FashionMNIST': Source((0.2861,), (0.3530,), 'FashionMNIST', FASHION_CLASSES),
    'SVHN': Source((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970), 'SVHN'),
    'USPS': Source((0.2539,), (0.3842,), 'USPS'),
    'CIFAR10': Source((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 'CIFAR10', CIFAR10_CLASSES),
    'CIFAR100': Source((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762), 'CIFAR100'),
}
IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm')


def read_npz(path):
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise UserError(
            f'{path} cannot be read as an .npz archive ({error}); make or copy it again'
        ) from error


def read_digits():
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    pixels = np.round(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    x_train, x_test, y_train, y_test = train_test_split(
        pixels, labels, test_size=450, stratify=labels, random_state=0
    )
    return {'x_train': x_train, 'y_train': y_train, 'x_test': x_test, 'y_test': y_test}


def read_torchvision(name, data_path):
    """Read a data set through torchvision, downloading it into data_path if need be."""
    kind = getattr(torchvision.datasets, DATASETS[name].torchvision)
    arrays = {}
    for split, train in (('train', True), ('test', False)):
        chosen = {'split': split} if name == 'SVHN' else {'train': train}
        try:
            part = kind(str(data_path), download=True, **chosen)
        except Exception as error:  # URLError, RuntimeError, OSError …, by mirror and version
            raise UserError(
                f'{name} is not on disk and cannot be downloaded ({error}); put it at '
                f'{data_path}/{name.lower()}.npz (x_train, y_train, x_test, y_test), or use '
                '--dataset Digits, which needs no download'
            ) from error
        pixels, labels = np.asarray(part.data), np.asarray(part.labels if name == 'SVHN' else part.targets)
        arrays[f'x_{split}'] = pixels.transpose(0, 2, 3, 1) if name == 'SVHN' else pixels
        arrays[f'y_{split}'] = labels
    return arrays


def read_image(path, im_size):
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
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f'{path} cannot be read as an image ({error}); mend or remove it') from error


def read_folder(folder, im_size):
    """Read folder/{train,test}/<class>/*; return arrays and class names. Grey and colour mixed is colour."""
    for split in ('train', 'test'):
        if not (folder / split).is_dir():
            raise UserError(
                f'{folder} has no folder {split!r}; it needs train/<class>/* and test/<class>/* images'
            )
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
            if path.suffix.lower() in IMAGE_SUFFIXES
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
        arrays[f'x_{split}'] = np.stack(
            [np.repeat(image[..., None], 3, 2) if colour and image.ndim == 2 else image for _, image in part]
        )
    return arrays, tuple(names)
