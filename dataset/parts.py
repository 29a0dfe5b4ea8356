"""The training and the test part of own data: their names, and a split where there is none.

What is decided for the user is said in one line each; what is wrong is said all together.
"""

import hashlib

import numpy as np

from processes import ranks
from utils import UserError, plural, printable

# The first that is there is taken: validation images are the test part where there is no other.
SPELLINGS = {
    'train': ('train', 'training'),
    'test': ('test', 'testing'),
    'val': ('val', 'valid', 'validation', 'dev'),
}
ONE_IN = 6  # images to test where there is no test part, as in CIFAR-10; MNIST has one in seven
SHOWN = 3  # faults, or files left out, that are named


def part_of(word: str) -> str | None:
    """Return which part a word names: train, test or val; None if it names none."""
    return next((part for part, words in SPELLINGS.items() if word.lower() in words), None)


def say(name: str, text: str) -> None:
    """Print what was decided for the user, once for all ranks."""
    if ranks.leads():
        line = printable(f'{name}: {text}')
        print(line.encode('utf-8', 'replace').decode(), flush=True)  # names may be no text


def say_small(data, needed: int, what: str) -> None:
    """Say which classes of data (a Data) are smaller than needed, and what is done then."""
    small = [c for c, members in enumerate(data.indices_class) if len(members) < needed]
    for c in small[:3]:
        num = len(data.indices_class[c])
        say(data.name, f'class {data.class_names[c]!r} has {num} of {needed} images: it {what}')
    if small[3:]:
        say(data.name, f'so do {plural(len(small) - 3, "more class")}')


def some(words: list[str]) -> str:
    """Return the first words of a list, and that there are more."""
    return ', '.join(words[:SHOWN]) + (', …' if len(words) > SHOWN else '')


def refuse(name: object, faults: list[str]) -> None:
    """Raise UserError if there are faults: their number and the first three."""
    if len(faults) == 1:
        raise UserError(f'{name}: {faults[0]}')
    if faults:
        first = ' '.join(f'({number}) {fault};' for number, fault in enumerate(faults[:SHOWN], 1))
        more = ' …' if len(faults) > SHOWN else ''
        raise UserError(f'{name}: {len(faults)} faults: {first.rstrip(";")}{more}')


def held_out(name: str, labels: np.ndarray, keys: list[str]) -> np.ndarray:
    """Choose one image in six of each class to test, always the same; return a mask (N,).

    keys: a text for each image that decides, by its hash, whether it is chosen. Raises UserError
    for a class of one image.
    """
    classes, counts = np.unique(labels, return_counts=True)
    single = int((counts < 2).sum())
    if single:
        raise UserError(
            f'{name}: {single} of {len(classes)} classes have a single image, and there is no test '
            'part; add images, or a test part (a condensed set is for main_eval.py --synset)'
        )
    order = np.array([hashlib.blake2b(key.encode('utf-8', 'surrogateescape')).hexdigest()[:16]
                      for key in keys])  # fmt: skip
    mask = np.zeros(len(labels), bool)
    for label in classes:
        members = np.flatnonzero(labels == label)
        num = max(round(len(members) / ONE_IN), 1)
        mask[members[np.argsort(order[members], kind='stable')[:num]]] = True
    say(
        name,
        f'no test part, so one image in {ONE_IN} of each class is held out to test, always the '
        f'same ({len(mask) - mask.sum()} to train, {mask.sum()} to test)',
    )
    return mask
