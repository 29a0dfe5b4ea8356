"""Sets in the layouts of other projects, brought into the field's: [[images, labels], …].

    [[images, labels], …] under 'data'      DC, DSA, DM and this project
    [images, labels], alone or under 'data'  IDC, DREAM; DataDAM
    {'images': …, 'labels': …}
    images_best.pt, with labels_best.pt beside it    MTT, DATM
    a Keras archive with x_train and y_train, or pictures in folders of their class: what
    main_export.py writes

Labels are classes (N,) or (N, 1), or a probability of every class (N, K). NumPy arrays do as well.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch

from dataset.arrays import read_npz
from dataset.pictures import read_image
from storage.files import file_hash, load_tensors
from utils import UserError

IMAGES = 'images', 'image', 'image_syn', 'x', 'x_train'
LABELS = 'labels', 'label', 'label_syn', 'y', 'y_train'
FAR = 20  # a normalised value beyond this is none
NEEDED = "it needs 'data' = [[images (N, C, H, W), labels (N,)], …], or one such pair"


def in_our_layout(path: Path) -> dict:
    """Return {'data': [[images, labels], …], …} of a file or folder; raise UserError for others."""
    path = Path(path)
    if path.is_dir():
        return _read_pictures(path)
    if path.suffix == '.npz':
        arrays = read_npz(path)
        pair = _pair_of(path, arrays)
        if pair is None:
            raise UserError(f'{path} is no set: its arrays should be x_train and y_train')
        names = [str(name) for name in arrays.get('class_names', ())]
        return {'data': [[_planar(pair[0]), pair[1]]], 'class_names': names or None}
    content = load_tensors(path, 'result file')
    found = content if isinstance(content, dict) else {}
    data = found.get('data', content)
    pair = _pair_of(path, data)
    sets = [pair] if pair else _pairs_of(data)
    if not sets:
        raise UserError(f'{path} is no result file: {NEEDED}')
    return {**found, 'data': sets}


def _read_pictures(folder: Path) -> dict:
    """Return the set of the pictures folder/<class>/*."""
    classes = sorted(part for part in folder.iterdir() if part.is_dir() and part.name[0] != '.')
    files = [
        (path, label)
        for label, own in enumerate(classes)
        for path in sorted(own.iterdir(), key=lambda path: (len(path.name), path.name))
        if path.name[0] != '.'
    ]
    if not files:
        raise UserError(f'{folder} is no set: it has no pictures in folders named by their class')
    pictures = [read_image(path) for path, _ in files]
    if len({picture.shape for picture in pictures}) > 1:
        raise UserError(f'{folder} holds pictures of different sizes, or grey and coloured ones')
    images = _planar(torch.from_numpy(np.stack(pictures)))
    labels = torch.tensor([label for _, label in files])
    return {'data': [[images, labels]], 'class_names': [own.name for own in classes]}


def _planar(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, C, H, W) of (N, H, W) or (N, H, W, C)."""
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def _pairs_of(data) -> list:
    """Return the sets of a list of sets."""
    if not isinstance(data, list | tuple) or not data:
        return []
    pairs = [_pair_of(None, part) for part in data]
    return [] if None in pairs else pairs


def _pair_of(path: Path | None, data) -> list | None:
    """Return [images, labels] of one set, None if data is none."""
    if isinstance(data, dict):
        names = [next((name for name in known if name in data), None) for known in (IMAGES, LABELS)]
        data = [data[name] for name in names] if None not in names else None
    elif path and _is_array(data) and data.ndim == 4:
        data = [data, load_tensors(labels_beside(path), 'file of the labels of these images')]
    if not isinstance(data, list | tuple) or len(data) != 2 or not all(map(_is_array, data)):
        return None
    images, labels = (torch.as_tensor(part) for part in data)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return [images.detach(), labels.detach()]


def hard(labels: torch.Tensor) -> torch.Tensor:
    """Return classes (N,) of labels (N,) or (N, K)."""
    return labels.argmax(1) if labels.ndim == 2 else labels.long()


def scale_of(images: torch.Tensor) -> float | None:
    """Return what value is white, if images are pixels: 255 or 1; None for normalised ones.

    Normalised images have values of both signs, about 0. Learned pixels may leave [0, 1] a little.
    """
    if images.dtype is torch.uint8:
        return 255
    images = images.float()
    low, high = float(images.min()), float(images.max())
    if low >= 0 and (high <= 1 or high > FAR):
        return 255 if high > 1 else 1
    learned = low >= -1 and high <= 2 and images.mean() > 0.2 and images.std() < 0.4
    return 1 if learned else None


def labels_beside(path: Path) -> Path:
    """Return the file of the labels of images that are alone in a file."""
    if 'images' in path.name:
        return path.with_name(path.name.replace('images', 'labels'))
    return path.with_name(f'{path.stem}_labels{path.suffix}')


def content_hash(path: Path) -> str:
    """Return a hash of all files that a set is in."""
    files = sorted(path.rglob('*.*')) if path.is_dir() else [path, labels_beside(path)]
    hashes = [file_hash(file) for file in files if file.is_file()]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(' '.join(hashes).encode()).hexdigest()


def _is_array(value) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)
