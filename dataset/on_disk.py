"""Known data sets in the files of their authors, read from disk without any code of theirs.

    data/cifar-10-python.tar.gz, data/cifar-10-batches-py/       CIFAR10; CIFAR100 alike
    data/train_32x32.mat, data/test_32x32.mat                    SVHN
    data/MNIST/raw/train-images-idx3-ubyte, also .gz, …          MNIST; FashionMNIST alike

Each may also lie in a folder of the data set's name. The arrays equal those of torchvision.
"""

import gzip
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import numpy as np

from dataset.parts import say
from storage.files import check_file
from utils import UserError

Arrays = dict[str, np.ndarray]
PARTS = 'train', 'test'
OF_ONE_NAME = 'MNIST', 'FashionMNIST'  # their files have the same names


def read_on_disk(name: str, data_path: str | Path, mean: float) -> Arrays | None:
    """Return the arrays of a known data set from its authors' files, None if they are not there.

    mean: of its training pixels in [0, 1], which tells MNIST from FashionMNIST where files have
    the same names. Raises UserError for files that are damaged.
    """
    root = Path(data_path)
    if name in CIFAR:
        return _read_cifar(CIFAR[name], root, name)
    for folder in (root / name / 'raw', root / name, root / name.lower(), root):
        arrays = LAYOUTS[name](folder) if name in LAYOUTS and folder.is_dir() else None
        if arrays is None:
            continue
        found = arrays['x_train'].mean() / 255
        if folder == root and name in OF_ONE_NAME and abs(found - mean) > 0.01:
            say(name, f'the files in {folder} are of another set (mean {found:.3f}, not {mean})')
            continue
        say(name, f'read from the files in {folder}')
        return arrays
    return None


def _or_damaged(path, what, read):
    """Return read(), whose errors mean that path is damaged."""
    check_file(path, what)
    try:
        return read()
    except (MemoryError, UserError):
        raise
    except Exception as error:  # zlib.error, struct.error, EOFError …, by format and damage
        raise UserError(
            f'{path} cannot be read as a {what}: it is truncated, damaged or of another format; '
            'restore it from a copy'
        ) from error


# CIFAR: pickles of dicts with rows of 3 x 32 x 32 pixels.


@dataclass(frozen=True)
class Cifar:
    """Where an archive of CIFAR has its parts: folder in it, name of it, files, key of labels."""

    folder: str
    archive: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    labels: str


CIFAR = {
    'CIFAR10': Cifar(
        'cifar-10-batches-py', 'cifar-10-python.tar.gz',
        tuple(f'data_batch_{number}' for number in range(1, 6)), ('test_batch',), 'labels',
    ),
    'CIFAR100': Cifar(
        'cifar-100-python', 'cifar-100-python.tar.gz', ('train',), ('test',), 'fine_labels'
    ),
}  # fmt: skip


def _bytes(text, encoding='latin1'):
    return text.encode('latin1')  # how Python 3 writes bytes for Python 2


class Plain(pickle.Unpickler):
    """An unpickler of arrays, numbers, words, lists and dicts: no code of a file runs."""

    ALLOWED = {
        ('numpy.core.multiarray', '_reconstruct'): np._core.multiarray._reconstruct,
        ('numpy._core.multiarray', '_reconstruct'): np._core.multiarray._reconstruct,
        ('numpy', 'ndarray'): np.ndarray,
        ('numpy', 'dtype'): np.dtype,
        ('_codecs', 'encode'): _bytes,
    }

    def find_class(self, module, name):
        """Return one of the few allowed objects."""
        if (module, name) not in self.ALLOWED:
            raise UserError(f'it holds {module}.{name}, whose code would run; only arrays are read')
        return self.ALLOWED[module, name]


def _read_cifar(layout, root, name):
    """Return the arrays of CIFAR, from a folder or else from an archive."""
    for place in (root, root / name, root / name.lower()):
        folder, archive = place / layout.folder, place / layout.archive
        if folder.is_dir():
            say(name, f'read from {folder}')
            batches = {
                file: _or_damaged(
                    folder / file, 'batch of CIFAR', lambda path=folder / file: _unpickled(path)
                )
                for file in (*layout.train, *layout.test)
            }
            return _arrays(layout, batches, folder)
        if archive.is_file():
            say(name, f'read from {archive}')
            batches = _or_damaged(
                archive, 'archive of CIFAR', lambda path=archive: _from_tar(path, layout)
            )
            return _arrays(layout, batches, archive)
    return None


def _unpickled(path):
    with open(path, 'rb') as file:
        return _batch(file, path)


def _batch(file, where):
    try:
        return Plain(file, encoding='latin1').load()
    except UserError as error:
        raise UserError(f'{where} is no batch of CIFAR: {error}') from error


def _from_tar(path, layout):
    """Return {file: batch}; nothing is unpacked on disk, and the archive is read once."""
    batches = {}
    # Read to its end: only there is the checksum.
    with gzip.open(path) as file:
        whole = io.BytesIO(file.read())
    with tarfile.open(fileobj=whole) as archive:
        for member in archive:
            folder, _, file = member.name.removeprefix('./').partition('/')
            if folder == layout.folder and file in (*layout.train, *layout.test):
                batches[file] = _batch(archive.extractfile(member), f'{path}: {file}')
    return batches


def _arrays(layout, batches, where):
    arrays = {}
    for part in PARTS:
        files = getattr(layout, part)
        try:
            pixels = np.concatenate([batches[file]['data'] for file in files])
            labels = [label for file in files for label in batches[file][layout.labels]]
            pixels = pixels.astype(np.uint8, casting='safe', copy=False).reshape(-1, 3, 32, 32)
            arrays |= {f'x_{part}': pixels.transpose(0, 2, 3, 1), f'y_{part}': np.array(labels)}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f'{where} is no CIFAR as its authors give it: a batch, its data or its '
                f'{layout.labels} are missing or of another shape; restore it from a copy'
            ) from error
    return arrays


# SVHN: .mat files with images (32, 32, 3, N), in which the digit 0 has the label 10.


def _read_svhn(folder):
    from scipy.io import loadmat

    paths = {part: folder / f'{part}_32x32.mat' for part in PARTS}
    if not all(path.is_file() for path in paths.values()):
        return None
    arrays = {}
    for part, path in paths.items():
        pixels, labels = _or_damaged(
            path, 'part of SVHN',
            lambda path=path: itemgetter('X', 'y')(loadmat(path, variable_names=('X', 'y'))),
        )  # fmt: skip
        labels = labels.astype(np.int64).reshape(-1) % 10
        arrays |= {f'x_{part}': pixels.transpose(3, 0, 1, 2), f'y_{part}': labels}
    return arrays


# MNIST: idx files, a head of big-endian integers before the bytes.


def _read_idx(folder):
    kinds = {'x': ('images', 3), 'y': ('labels', 1)}
    arrays = {}
    for part, word in zip(PARTS, ('train', 't10k'), strict=True):
        for key, (kind, dimensions) in kinds.items():
            paths = [
                path
                for path in sorted(folder.glob(f'{word}-{kind}?idx{dimensions}-ubyte*'))
                if path.suffix in ('.gz', '') or path.suffix.startswith('.idx')
            ]
            if not paths:
                return None
            path = paths[0]
            arrays[f'{key}_{part}'] = _or_damaged(
                path, 'file of MNIST', lambda path=path, n=dimensions: _idx(path, n)
            )
    return arrays


def _idx(path, dimensions):
    with (gzip.open if path.suffix == '.gz' else open)(path, 'rb') as file:
        head = np.frombuffer(file.read(4), np.uint8)
        if head.tolist() != [0, 0, 8, dimensions]:
            raise ValueError('no idx file of bytes')
        shape = np.frombuffer(file.read(4 * dimensions), '>i4')
        return np.frombuffer(bytearray(file.read()), np.uint8).reshape(shape)


LAYOUTS: dict[str, Callable[[Path], Arrays | None]] = {
    'SVHN': _read_svhn,
    'MNIST': _read_idx,
    'FashionMNIST': _read_idx,
}
