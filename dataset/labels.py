"""Labels of own data as whole numbers from 0: columns, one-hot rows, names, 1 … K.

Both parts are looked at together. What is unambiguous is said in one line, the rest is a fault.
"""

import numpy as np

from dataset.parts import say

LARGEST = 2**53  # above, a float knows no whole number from the next


def tidy_labels(
    name: str, labels: dict[str, np.ndarray], faults: list[str]
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return {key: labels (N,)} as whole numbers, and class names, () if they have none.

    name: of the data set, in what is said; what cannot be told is added to faults.
    """
    labels = {
        key: array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        for key, array in labels.items()
    }
    kinds = {'S' if array.dtype.kind == 'U' else array.dtype.kind for array in labels.values()}
    if kinds == {'S'} and all(array.ndim == 1 for array in labels.values()):
        return _of_names(name, labels, faults)
    if not kinds <= {*'buif'}:
        key, dtype = next((k, a.dtype) for k, a in labels.items() if a.dtype.kind not in 'buif')
        faults.append(f'{key} has dtype {dtype}; it must hold whole numbers, or all parts names')
        return labels, ()
    if all(array.ndim == 2 for array in labels.values()):
        labels = _of_rows(name, labels, faults)
    elif any(array.ndim != 1 for array in labels.values()):
        key, shape = next((k, a.shape) for k, a in labels.items() if a.ndim != 1)
        faults.append(f'{key} has shape {shape}; it must be (N,), one label for each image')
        return labels, ()
    if any(array.ndim != 1 for array in labels.values()):
        return labels, ()
    return _from_zero(name, labels) if _make_whole(labels, faults) else (labels, ())


def _of_rows(name, labels, faults):
    """Return the classes of one-hot rows (N, K)."""
    for key, array in labels.items():
        if not np.isin(array, (0, 1)).all():
            faults.append(
                f'{key} of shape {array.shape} holds other values than 0 and 1; '
                'y = y.argmax(1) makes labels of scores'
            )
            return labels
        several = int((array.sum(1) != 1).sum())
        if several:
            faults.append(
                f'{key}: {several} of {len(array)} images have several labels or none; '
                'data with several labels an image are not supported'
            )
            return labels
    say(name, f'one-hot rows of {array.shape[1]} are read as labels')
    return {key: array.argmax(1) for key, array in labels.items()}


def _of_names(name, labels, faults):
    """Return the places of names in their sorted list, and the list."""
    words = {
        key: np.char.decode(array, 'utf-8', 'backslashreplace')
        if array.dtype.kind == 'S'
        else array
        for key, array in labels.items()
    }
    names = np.unique(words['y_train'])
    unknown = sorted({*words.get('y_test', np.array([], np.str_)).tolist()} - {*names.tolist()})
    if unknown:
        faults.append(f'y_test has the class {unknown[0]!r}, which y_train has not')
        return labels, ()
    say(name, f'{len(names)} names are read as classes, in the order of the alphabet')
    return {key: np.searchsorted(names, array) for key, array in words.items()}, tuple(
        names.tolist()
    )


def _make_whole(labels, faults):
    """Turn whole floats, and True and False, into integers; return whether that could be done."""
    for key, array in labels.items():
        whole = np.array_equal(array, np.rint(array)) and (np.abs(array) < LARGEST).all()
        if array.dtype.kind == 'f' and not whole:
            faults.append(f'{key} has dtype {array.dtype} and values that are no whole numbers')
            return False
        if array.dtype.kind in 'bf':
            labels[key] = array.astype(np.int64)
    return True


def _from_zero(name, labels):
    """Return labels 1 … K as 0 … K - 1, and their old values as class names; others as they are."""
    train = labels['y_train']
    if not train.size or train.min() != 1 or train.max() > train.size:
        return labels, ()
    num, rest = int(train.max()), labels.get('y_test', train[:0])
    inside = not rest.size or (rest.min() >= 1 and rest.max() <= num)
    if not inside or (np.bincount(train)[1:] == 0).any():
        return labels, ()
    say(name, f'labels 1 … {num} are read as 0 … {num - 1}')
    names = tuple(str(label) for label in range(1, num + 1))
    return {key: array.astype(np.int64) - 1 for key, array in labels.items()}, names
