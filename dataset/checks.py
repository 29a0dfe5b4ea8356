"""Whether arrays are an image set: looked at before anything is made of them, faults together."""

import numpy as np

from dataset.parts import refuse
from utils import UserError

RENUMBER = (
    'both = np.concatenate([y_train, y_test]); both = np.unique(both, return_inverse=True)[1]; '
    'y_train, y_test = np.split(both, [len(y_train)]) numbers the labels that occur from 0'
)


def check_arrays(name: str, arrays: dict[str, np.ndarray], im_size: int | None = None) -> None:
    """Raise UserError unless arrays is an image set with every class in the training part.

    im_size: images of any size will be resized to it.
    """
    for key in ('x_train', 'y_train', 'x_test', 'y_test'):
        if key not in arrays:
            raise UserError(
                f'{name}: no array {key!r}; '
                'it needs x_train, y_train, x_test and y_test (Keras layout)'
            )
    faults = []
    for split in ('train', 'test'):
        images, labels = arrays[f'x_{split}'], arrays[f'y_{split}']
        faults += _faults_of_images(f'x_{split}', images)
        if labels.dtype.kind not in 'iu':
            faults.append(f'y_{split} has dtype {labels.dtype}; it must hold whole numbers')
        if not images.ndim or len(images) == 0 or labels.size != len(images):
            num = len(images) if images.ndim else 0
            faults.append(f'{num} images but {labels.size} labels in the {split} part')
    refuse(name, faults)
    shape, shape_train = (arrays[f'x_{split}'].shape[1:] for split in ('test', 'train'))
    if shape != shape_train and not (im_size and shape[2:] == shape_train[2:]):
        faults.append(f'test images are {shape}, training images {shape_train}')
        if shape[2:] == shape_train[2:]:
            faults[-1] += '; pass --im_size N to resize them all'
    refuse(name, faults + _faults_of_labels(arrays['y_train'], arrays['y_test']))


def _faults_of_images(key, images):
    if images.dtype != np.uint8:
        return [f'{key} has dtype {images.dtype}; it must hold uint8 pixels']
    if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] not in (1, 3)):
        return [f'{key} has shape {images.shape}; it must be (N, H, W) or (N, H, W, 1 or 3)']
    if images.size == 0 and len(images):
        return [f'{key} has shape {images.shape}: images without a pixel']
    return []


def _faults_of_labels(train, test):
    num_classes = int(train.max()) + 1
    if num_classes > train.size:
        return [f'y_train goes up to {num_classes - 1}, with fewer images than classes; {RENUMBER}']
    outside = [
        f'y_{split} runs from {labels.min()} to {labels.max()}; '
        f'with this training part labels must lie in 0 … {num_classes - 1}'
        for split, labels in (('train', train), ('test', test))
        if labels.min() < 0 or labels.max() >= num_classes
    ]
    if outside:
        return [f'{" and ".join(outside)}; {RENUMBER}']
    missing = np.flatnonzero(np.bincount(train.reshape(-1)) == 0)
    if len(missing):
        more = f' (nor have {len(missing) - 1} more)' if len(missing) > 1 else ''
        return [f'class {missing[0]} has no training image{more}; {RENUMBER}']
    if num_classes < 2:
        return ['all images are of one class; it takes two or more to tell apart']
    return []
