"""What a data set is called in tables and in the names of files."""

import hashlib
import os
import unicodedata
from pathlib import Path

from dataset.readers import DATASETS

ARCHIVES = '.npz', '.parquet'  # a folder's name may hold dots of its own: flowers.v1
MOST = 255  # bytes of a file's name
LONGEST = 64  # bytes of a data set's: a result's file may name two, and settings


def name_of(dataset: str) -> str:
    """Return the name of a data set: a known one's own, else the end of its path.

    Own data never have a known name, in no spelling: those have statistics and a protocol of their
    own, and file systems may not tell `mnist` from `MNIST`.
    """
    if dataset in DATASETS:
        return dataset
    name = Path(dataset).name
    if name in ('', '..'):  # of '.', '..' and the like
        name = Path(dataset).resolve().name or 'root'
    if Path(name).suffix.lower() in ARCHIVES:
        name = Path(name).stem
    return f'own-{name}' if is_known(name) else _fit_for_files(name)


def is_known(name: str) -> bool:
    """Tell whether name, in any spelling, is that of a known data set."""
    return name.casefold() in {known.casefold() for known in DATASETS}


def _fit_for_files(name):
    """Return name without signs that steer shells, tables or terminals, and short enough.

    What is changed gets a hash of the name, so that two names stay two.
    """
    plain = ''.join(
        c if unicodedata.category(c)[0] in 'LMN' or c in ' _.+=,@()-' else '-' for c in name
    )
    if plain == name:
        return shortened(name, LONGEST)
    return f'{_cut(plain, LONGEST - 9)}-{_digest(name)}'


def shortened(name: str, longest: int) -> str:
    """Return a name of at most so many bytes: the end of a longer one becomes its hash."""
    if len(os.fsencode(name)) <= longest:
        return name
    return f'{_cut(name, longest - 9)}-{_digest(name)}'


def _cut(name, longest):
    return os.fsencode(name)[:longest].decode(errors='ignore')


def _digest(name):
    return hashlib.blake2b(os.fsencode(name), digest_size=4).hexdigest()
