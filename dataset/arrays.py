"""Arrays of own data: an .npz as Keras, MedMNIST or other projects write it, in Keras layout.

What is unambiguous is read, and said in one line: floats, channels first, one-hot labels, names.
For the rest the message holds the line of code that cures it.
"""

from collections.abc import Callable, Iterable
from math import isqrt
from pathlib import Path

import numpy as np

from dataset.labels import tidy_labels
from dataset.parts import held_out, part_of, refuse, say, some
from dataset.pictures import reading
from storage.files import check_file
from utils import UserError

KINDS = {
    'x': ('x', 'image', 'images', 'data'),
    'y': ('y', 'label', 'labels', 'target', 'targets'),
}
NAMES = 'class_names'
CHUNK = 1000  # images that are converted at once


def read_npz(path: Path, choose: Callable[[list], Iterable[str]] = list) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz archive; raise UserError if it cannot be read.

    choose: names of all arrays -> names of those to read.
    """
    check_file(path, 'data set')
    try:
        with reading(path) as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in choose(archive.files)}
    except (MemoryError, PermissionError, UserError):
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


def own_arrays(path: Path, name: str) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return the arrays of an .npz in Keras layout, and class names, () if it has none.

    name: what to call the data set in what is said. Raises UserError for what cannot be told.
    """
    roles = {}

    def choose(keys):
        roles.update(_roles(path, keys))
        left = [key for key in keys if key not in roles and key != NAMES]
        if left:
            say(name, f'left out: {some(left)}')
        return [*roles, *({NAMES} & {*keys})]

    arrays = read_npz(path, choose)
    given = arrays.pop(NAMES, np.zeros(0))
    arrays, names = tidy(path, name, {roles[key]: array for key, array in arrays.items()})
    if not given.size:
        return arrays, names
    num = int(arrays['y_train'].max(initial=-1)) + 1
    if given.dtype.kind != 'U' or given.shape != (num,):
        say(name, f'left out: {NAMES}, which are no {num} words')
        return arrays, names
    return arrays, tuple(given.tolist())


def _role_of(key):
    """Return ('x' or 'y', part) of an array by its name, part 'all' if it names none, or None."""
    kind, part = None, 'all'
    for word in key.lower().split('_'):
        own = next((own for own, words in KINDS.items() if word in words), None)
        if own and not kind:
            kind = own
        elif part_of(word) and part == 'all':
            part = part_of(word)
        else:
            return None
    return kind and (kind, part)


def _roles(path, keys):
    """Return {name of an array: its name in Keras layout} of those to read."""
    found = {key: _role_of(key) for key in keys if _role_of(key)}
    parts = {part for _, part in found.values()}
    train = 'train' if 'train' in parts or 'all' not in parts else 'all'
    test = 'val' if 'val' in parts and 'test' not in parts else 'test'
    splits, roles = {train: 'train', test: 'test'}, {}
    for key, (kind, part) in found.items():
        if part in splits:
            role = f'{kind}_{splits[part]}'
            if role in roles.values():
                raise UserError(f'{path}: {key!r} is a second array {role!r}; keep one of them')
            roles[key] = role
    needed = ['x_train', 'y_train']
    needed += ['x_test', 'y_test'] if {'x_test', 'y_test'} & {*roles.values()} else []
    for role in needed:
        if role not in roles.values():
            raise UserError(
                f'{path}: no array {role!r}; it needs x_train, y_train, x_test and y_test '
                f'(Keras layout); found: {some(list(keys)) or "nothing"}'
            )
    return roles


def tidy(
    path: Path, name: str, arrays: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return arrays as uint8 images in Keras layout and labels from 0, and class names or ().

    path, name: what to call them in messages, and in what is said. Raises UserError for what
    cannot be told. Images whose channels come last are rearranged in place.
    """
    faults = []
    images = {key: array for key, array in arrays.items() if key[0] == 'x'}
    labels = {key: array for key, array in arrays.items() if key[0] == 'y'}
    del arrays  # else what is converted would be held twice
    shapes = sorted({array.shape for array in images.values() if _has_channels_first(array)})
    if shapes:
        say(name, f'images of shape {shapes[-1]} are read as (N, C, H, W)')
    for key in images:
        images[key] = _channels_last(key, images[key], faults)
    factor = _factor(name, images, faults)
    labels, names = tidy_labels(name, labels, faults)
    refuse(path, faults)
    for key in images:
        if factor:
            images[key] = _as_uint8(images[key], factor)
    if 'x_test' not in images:
        _split(path, name, images, labels)
    return {key: planar(array) for key, array in images.items()} | labels, names


def _split(path, name, images, labels):
    """Hold out a part to test; the rest stays in its memory."""
    num, num_labels = len(images['x_train']), len(labels['y_train'])
    if num != num_labels:
        raise UserError(f'{path}: {num} images but {num_labels} labels')
    mask = held_out(name, labels['y_train'], [str(place) for place in range(num)])
    for part in (images, labels):
        for key, array in list(part.items()):
            part[f'{key[0]}_test'], rows = array[mask], np.flatnonzero(~mask)
            for start in range(0, len(rows), CHUNK):  # no image moves up: none is overwritten
                some_rows = rows[start : start + CHUNK]
                array[start : start + len(some_rows)] = array[some_rows]
            part[key] = array[: len(rows)]


def _factor(name, images, faults):
    """Return what pixels must be multiplied by to run from 0 to 255, None if it cannot be told."""
    if all(array.dtype == np.uint8 for array in images.values()):
        return None
    kinds = {array.dtype.kind for array in images.values()}
    key, dtype = next((key, a.dtype) for key, a in images.items() if a.dtype != np.uint8)
    if len({array.dtype == np.uint8 for array in images.values()}) > 1 or not kinds <= {*'buif'}:
        faults.append(f'{key} has dtype {dtype}; it must hold uint8 pixels, as all parts')
        return None
    if kinds == {'b'}:
        say(name, 'pixels of True and False are read as 255 and 0')
        return 255
    filled = [np.atleast_1d(array) for array in images.values() if array.size]
    low, high = (float(of([of(array) for array in filled] or [0])) for of in (np.min, np.max))
    whole = kinds <= {'u', 'i'} or all(map(_is_whole, filled))
    if not kinds <= {'u', 'i'} and 0 <= low <= high <= 1:
        say(name, f'pixels of {dtype} in [0, 1] are read as times 255')
        return 255
    if whole and 0 <= low <= high <= 255 and high > 1:
        say(name, f'whole pixels of {dtype} from {low:g} to {high:g} are read as uint8')
        return 1
    faults.append(
        f'{key} has dtype {dtype}, from {low:g} to {high:g}; pixels must be uint8, whole from 0 '
        f'to 255, or floats in [0, 1]: {_cure(low, high, whole)}'
    )
    return None


def _cure(low, high, whole):
    """Return the line of code that makes pixels of this range readable."""
    if not np.isfinite(low + high):
        return 'keep = np.isfinite(x).all((1, 2, 3)); x, y = x[keep], y[keep] leaves those out'
    if low >= 0 and high <= 255:
        return 'x = x.round().astype("uint8") makes them so, after x = x * 255 if they end at 1'
    if low >= 0 and high < 2**16 and whole:
        return 'x = (x / 257).round().astype("uint8") does so for pixels of 16 bits'
    return 'x = ((x * std + mean) * 255).round().clip(0, 255).astype("uint8") if it was normalised'


def _is_whole(array):
    parts = (array[start : start + CHUNK] for start in range(0, len(array), CHUNK))
    return all(np.array_equal(part, np.rint(part)) for part in parts)


def _as_uint8(array, factor):
    """Return pixels times factor in uint8, converted piece by piece."""
    result = np.empty(array.shape, np.uint8)
    for start in range(0, len(array), CHUNK):
        part = slice(start, start + CHUNK)
        result[part] = np.rint(array[part] * float(factor))
    return result


def _has_channels_first(array):
    return array.ndim == 4 and array.shape[3] not in (1, 3) and array.shape[1] in (1, 3)


def _channels_last(key, array, faults):
    """Return images as (N, H, W) or (N, H, W, C)."""
    if _has_channels_first(array):
        return array.transpose(0, 2, 3, 1)
    if array.ndim in (3, 4) and (array.ndim == 3 or array.shape[3] in (1, 3)):
        return array
    cure = ''
    if array.ndim == 4 and array.shape[3] == 4:
        cure = ': x = x[..., :3] drops a fourth channel'
    elif array.ndim == 2:
        for channels in (3, 1):
            side = isqrt(array.shape[1] // channels)
            if side and channels * side**2 == array.shape[1]:
                shape = f'{channels}, {side}, {side}' if channels == 3 else f'{side}, {side}'
                cure = f': x = x.reshape(-1, {shape}) if rows are images of that size'
    faults.append(f'{key} has shape {array.shape}; it must be (N, H, W) or (N, H, W, 1 or 3){cure}')
    return array


def planar(pixels: np.ndarray) -> np.ndarray:
    """Rearrange images (N, H, W, C) so that channels lead in memory, in place if it can be.

    The result is a view in the same layout as before. A tensor (N, C, H, W) takes it without a
    copy, which a large data set would not have room for.
    """
    whole = pixels.flags.c_contiguous and pixels.flags.writeable
    if pixels.ndim != 4 or pixels.shape[3] == 1 or not pixels.size or not whole:
        return pixels
    num, height, width, channels = pixels.shape
    flat = pixels.reshape(num, -1)
    for start in range(0, num, CHUNK):
        part = pixels[start : start + CHUNK]
        flat[start : start + CHUNK] = part.transpose(0, 3, 1, 2).reshape(len(part), -1)
    return flat.reshape(num, channels, height, width).transpose(0, 2, 3, 1)
