"""Exports of Hugging Face: parquet files with a column of encoded pictures and one of labels."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataset.folders import is_visible
from dataset.parts import part_of, refuse, say, some
from dataset.pictures import bar, empty, fill, header, keras, odd_sizes
from storage.files import check_file
from utils import UserError

IMAGES = 'image', 'img', 'images', 'picture'
LABELS = 'label', 'labels', 'fine_label', 'target', 'class'
ROWS = 256  # that are decoded at once


def parquet_files(path: Path) -> list[Path]:
    """Return the parquet files at a path: itself, or those in a folder and its folders."""
    if path.is_dir():
        files = sorted([*path.glob('*.parquet'), *path.glob('*/*.parquet')])
        return [file for file in files if all(map(is_visible, file.relative_to(path).parts))]
    return [path] if path.suffix.lower() == '.parquet' else []


class Shards:
    """The rows of one part: parquet files that are read from their beginning each time.

    Raises UserError if one cannot be read, or lacks a column.
    """

    def __init__(self, parquet, paths: list[Path]):
        self.parquet, self.paths = parquet, paths
        self.num = sum(file.metadata.num_rows for file in map(self._open, paths))
        schema = self._open(paths[0]).schema_arrow
        self.image, self.label = (
            self._column(schema.names, known, what)
            for known, what in ((IMAGES, 'pictures'), (LABELS, 'labels'))
        )
        self.class_names = _class_names(schema.metadata or {}, self.label)

    def _open(self, path):
        check_file(path, 'parquet file')
        try:
            return self.parquet.ParquetFile(path)
        except Exception as error:  # ArrowInvalid, OSError …, by the damage
            raise UserError(
                f'{path} cannot be read as a parquet file: it is truncated or damaged; '
                'restore it from a copy'
            ) from error

    def _column(self, names, known, what):
        found = next((name for name in known if name in names), None)
        if found is None:
            raise UserError(
                f'{self.paths[0]} has no column of {what} ({", ".join(known)}); '
                f'found: {", ".join(names)}'
            )
        return found

    def column(self, name: str) -> Iterator:
        """Yield (where it stands, value) of each row of a column."""
        for path in self.paths:
            row = 0
            for batch in self._open(path).iter_batches(batch_size=ROWS, columns=[name]):
                for value in batch.column(0).to_pylist():
                    yield f'{path}, row {row}', value
                    row += 1

    def pictures(self) -> Iterator[tuple[str, bytes]]:
        """Yield (where it stands, bytes of the file) of each picture."""
        for where, value in self.column(self.image):
            content = value.get('bytes') if isinstance(value, dict) else value
            yield where, content if isinstance(content, bytes) else b''


def read_parquet(
    path: Path, name: str, im_size: int | None = None, squash: bool = False
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Return arrays in Keras layout, and class names or (), from the parquet files at a path.

    name: what to call the data set in what is said; squash: as in pictures.resized(). Raises
    UserError for what cannot be read, or without pyarrow.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise UserError(f'{path}: parquet files need pyarrow: pip install pyarrow') from error
    parts = {part: Shards(parquet, paths) for part, paths in _parts(path, name).items()}
    labels = {part: np.array([v for _, v in s.column(s.label)]) for part, s in parts.items()}
    faults, headers = [], []
    for part, shards in parts.items():
        for where, content in bar(shards.pictures(), f'{part}: headers', shards.num):
            try:
                one = header(content, where)
            except UserError as error:
                faults.append(str(error))
                continue
            if one is None:
                faults.append(f'{where} is no picture')
            else:
                headers.append((where, one))
    if not headers and not faults:
        faults.append('no picture is in it')
    if headers and not im_size:
        faults += odd_sizes([one for _, one in headers], [where for where, _ in headers])
    refuse(path, faults)
    size = (im_size, im_size) if im_size else headers[0][1].size
    channels, arrays = 3 if any(one.colour for _, one in headers) else 1, {}
    for part, shards in parts.items():
        pixels = empty(shards.num, channels, size)
        files = bar(shards.pictures(), f'{part}: pictures', shards.num)
        refuse(path, fill(pixels, files, im_size, squash))
        arrays |= {f'x_{part}': keras(pixels), f'y_{part}': labels[part]}
    return arrays, parts['train'].class_names


def _parts(path, name):
    """Return {'train': files, 'test': files}, by the first word of their names."""
    found = {}
    for file in parquet_files(path):
        part = part_of(file.stem.replace('.', '-').replace('_', '-').partition('-')[0])
        found.setdefault(part or part_of(file.parent.name) or 'all', []).append(file)
    train = found.get('train') or found.get('all')
    if not train:
        raise UserError(f'{path} has no training part among its parquet files: {some([*found])}')
    test = found.get('test') or found.get('val')
    left = [part for part, files in found.items() if files not in (train, test)]
    if 'val' in found and test is found['val']:
        say(name, 'the validation part is the test part')
    if left:
        say(name, f'left out: {some(left)}')
    return {'train': train} | ({'test': test} if test else {})


def _class_names(metadata, label):
    """Return the names that Hugging Face stores for the classes of a column, () if it has none."""
    try:
        features = json.loads(metadata[b'huggingface'])['info']['features']
        return tuple(map(str, features[label]['names']))
    except (KeyError, TypeError, ValueError):
        return ()
