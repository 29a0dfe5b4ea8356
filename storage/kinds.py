"""What a file may hold: kinds, and the place of the first value that is of another kind.

A kind is one of these:

    a function           value -> bool, as those below
    {'a': kind, 'b?': kind}    a dict with these keys at least; b may be missing or None
    {str: kind}          a dict from words to values of one kind; {int: kind} alike
    [kind]               a list of any length
    (kind, kind)         a list of this length
"""

import math
from numbers import Integral, Real
from pathlib import Path

import torch

from utils import UserError, printable

KEYS = {str: str, int: Integral}
WHOLE = 'the whole'
MOST_CLASSES = 100_000
PLAIN = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
WHOLE_NUMBERS = (
    torch.uint8, torch.uint16, torch.uint32, torch.uint64,
    torch.int8, torch.int16, torch.int32, torch.int64, torch.bool,
)  # fmt: skip
# What taking over a state of another kind raises, by its damage.
MISFITS = ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError


def count(value) -> bool:
    """Tell whether value is a whole number from 0."""
    return isinstance(value, Integral) and not isinstance(value, bool) and 0 <= value < 2**63


def number(value) -> bool:
    """Tell whether value is a finite number."""
    real = isinstance(value, Real) and not isinstance(value, bool)
    return real and abs(value) < math.inf and (not isinstance(value, Integral) or count(abs(value)))


def share(value) -> bool:
    """Tell whether value is a number from 0 to 1."""
    return number(value) and 0 <= value <= 1


def switch(value) -> bool:
    """Tell whether value is True or False."""
    return isinstance(value, bool)


def word(value) -> bool:
    """Tell whether value is a text."""
    return isinstance(value, str)


def plain(value) -> bool:
    """Tell whether value is of words, numbers, lists and dicts, as JSON has them."""
    if isinstance(value, dict):
        return all(map(word, value)) and all(map(plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(plain, value))
    return value is None or isinstance(value, str | int | float)


def anything(value) -> bool:
    """Tell that any value will do."""
    return True


def in_memory(value) -> bool:
    """Tell whether value is a tensor of plain memory that holds real numbers."""
    return (
        isinstance(value, torch.Tensor)
        and value.layout is torch.strided
        and value.device.type != 'meta'
        and value.dtype in PLAIN
    )


def numeric(value) -> bool:
    """Tell whether value is a tensor of plain memory that holds finite real numbers."""
    return in_memory(value) and bool(value.isfinite().all())


def images(value) -> bool:
    """Tell whether value is a tensor of images (N, C, H, W), N > 0: floating numbers, or bytes."""
    sized = numeric(value) and value.ndim == 4 and value.numel() > 0
    if sized and value.dtype is torch.uint8:
        return True
    return sized and value.is_floating_point() and bool(value.float().isfinite().all())


def labels(value) -> bool:
    """Tell whether value is a tensor of labels (N,): whole numbers from 0."""
    whole = numeric(value) and value.dtype is not torch.bool and value.ndim == 1
    whole = whole and bool((value.round() == value).all())
    return whole and (not len(value) or 0 <= value.min() <= value.max() < MOST_CLASSES)


def soft_labels(value) -> bool:
    """Tell whether value is a tensor of labels (N, K): a number for each of several classes."""
    several = numeric(value) and value.ndim == 2 and value.shape[1] > 1
    return several and value.is_floating_point() and bool(value.float().isfinite().all())


def image_set(value) -> bool:
    """Tell whether value is [images (N, C, H, W), labels (N,) or (N, K)]."""
    pair = images, lambda part: labels(part) or soft_labels(part)
    return fault(value, pair) is None and len(value[0]) == len(value[1])


def fault(value, kind, place: str = '') -> str | None:
    """Return the place of the first value that is of another kind, None if all fit."""
    if isinstance(kind, dict):
        return _fault_of_dict(value, kind, place)
    if isinstance(kind, list | tuple):
        many = isinstance(kind, list)
        if not isinstance(value, list | tuple) or not (many or len(value) == len(kind)):
            return place or WHOLE
        kinds = kind * len(value) if many else kind
        parts = enumerate(zip(value, kinds, strict=True))
        return _first(fault(part, own, f'{place}[{i}]') for i, (part, own) in parts)
    return None if kind(value) else place or WHOLE


def _fault_of_dict(value, kind, place):
    if not isinstance(value, dict):
        return place or WHOLE
    dot = f'{place}.' if place else ''
    for of_keys in {str, int} & kind.keys():
        if not all(isinstance(key, KEYS[of_keys]) for key in value):
            return place or WHOLE
        return _first(fault(part, kind[of_keys], f'{dot}{key}') for key, part in value.items())
    for name, own in kind.items():
        key = name.removesuffix('?')
        if key != name and value.get(key) is None:
            continue
        if key not in value:
            return f'{dot}{key} (missing)'
        found = fault(value[key], own, f'{dot}{key}')
        if found:
            return found
    return None


def _first(faults):
    return next((found for found in faults if found), None)


def check(path: Path, what: str, value, kind, remedy: str = 'restore it from a copy'):
    """Return value if it is of this kind; raise UserError, naming the place in the file, if not."""
    place = fault(value, kind)
    if place:
        where = '' if place == WHOLE else f': {printable(place)} is damaged or foreign'
        raise UserError(f'{path} is no {what} of this project{where}; {remedy}')
    return value
