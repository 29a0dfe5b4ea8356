"""Parts of a data set as data sets of their own, in the normalisation of the whole."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from dataset.data import Data
from dataset.readers import DATASETS, Source, source_of
from utils import Rng, UserError


def arrays_of(data: Data, classes: list[int]) -> dict[str, np.ndarray]:
    """Return some classes of data in Keras layout; class classes[i] gets the label i."""
    places, arrays = torch.full((data.num_classes,), -1), {}
    places[classes] = torch.arange(len(classes))
    for split in ('train', 'test'):
        labels = places[getattr(data, f'labels_{split}').cpu()]
        pixels = getattr(data, f'pixels_{split}').cpu()[labels >= 0]
        arrays[f'x_{split}'] = pixels.permute(0, 2, 3, 1).numpy()
        arrays[f'y_{split}'] = labels[labels >= 0].numpy()
    return arrays


def with_classes(data: Data, classes: list[int]) -> Data:
    """Return some classes of data, under its name: networks are trained on them as on all."""
    names = tuple(data.class_names[c] for c in classes)
    arrays = arrays_of(data, classes)
    return Data(data.name, arrays, names, *statistics_of(data), data.device)


def statistics_of(data: Data) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std of each channel, as Data takes them."""
    return tuple(data.mean.flatten().tolist()), tuple(data.std.flatten().tolist())


def check_part(data: Data, index: torch.Tensor) -> None:
    """Raise UserError unless the training images at index are of all classes."""
    present = data.labels_train[index.to(data.device)].unique().tolist()
    missing = sorted({*range(data.num_classes)} - {*present})
    if missing:
        raise UserError(
            f'{len(index)} random training images of {data.name} have none of class '
            f'{data.class_names[missing[0]]!r}; use a larger --num_real'
        )


def add_row(name: str, data: Data, read: Callable[[], dict], class_names=(), like=None) -> str:
    """Make what read() returns a known data set, in the normalisation of data; return its name.

    like: the data set whose mirror images and augmentation it shares (None: data). Runs of main.py
    find it by its name as long as this process lives.
    """
    like = like or data
    source = source_of(like.name)
    augmentation = source.dc_augmentation if source else 'None'
    DATASETS[name] = Source(
        lambda folder: read(), *statistics_of(data), tuple(class_names), like.mirrored, augmentation
    )
    return name


def add_classes(data: Data, classes: list[int]) -> str:
    """Make some classes of data a known data set; return its name."""
    size = 'x'.join(map(str, data.shape[1:]))
    name = f'{data.name}-{size}-{"+".join(map(str, classes))}'
    names = [data.class_names[c] for c in classes]
    return add_row(name, data, partial(arrays_of, data, classes), names)


def class_steps(num_classes: int, steps: int, seed: int, order: int) -> list[list[int]]:
    """Return the classes of each step, in an order that seed and order decide."""
    rng = Rng('cpu', seed, 'class order', order)
    classes = torch.randperm(num_classes, generator=rng.host_generator).tolist()
    return [sorted(map(int, part)) for part in np.array_split(classes, steps)]
