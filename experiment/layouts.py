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
from dataset.folders import files_in, folders_in
from dataset.pictures import header, read_image
from storage.files import file_hash, load_tensors
from storage.kinds import MOST_CLASSES, WHOLE_NUMBERS, in_memory
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
    if path.suffix.lower() == '.npz':
        return _read_archive(path)
    content = load_tensors(path, 'result file')
    found = content if isinstance(content, dict) else {}
    data = found.get('data', content)
    pair = _pair_of(path, data)
    sets = [pair] if pair else _pairs_of(data)
    if not sets:
        raise UserError(f'{path} is no result file: {NEEDED}')
    return {**found, 'data': sets}


def _read_archive(path: Path) -> dict:
    """Return the set of a Keras archive."""
    arrays = read_npz(path)
    names = [str(name) for name in np.atleast_1d(arrays.pop('class_names', []))]
    for key, array in arrays.items():
        if array.dtype.kind not in 'uif' or array.dtype.itemsize > 8:
            raise UserError(f'{path} is no set: its {key} has numbers of the type {array.dtype}')
    # In the order of bytes of this machine, which torch asks for.
    arrays = {key: np.asarray(a, a.dtype.newbyteorder('=')) for key, a in arrays.items()}
    images, labels = (
        next((arrays[name] for name in known if name in arrays), None) for known in (IMAGES, LABELS)
    )
    if images is None or labels is None or images.ndim not in (3, 4):
        raise UserError(
            f'{path} is no set: it needs x_train (N, H, W, C) or (N, H, W), y_train '
            '(or images and labels)'
        )
    pair = _pair_of(None, [torch.from_numpy(images), torch.from_numpy(labels)])
    return {'data': [[_planar(pair[0]), pair[1]]], 'class_names': names or None}


def _read_pictures(folder: Path) -> dict:
    """Return the set of the pictures folder/<class>/*; what is no picture is left out."""
    runs = sorted([*folder.glob('res_*.pt'), *folder.glob('*/res_*.pt')])
    if runs:
        raise UserError(f'{folder} is a folder of runs; name their files, such as {runs[0]}')
    names = folders_in(folder)
    files = [
        (path, label)
        for label, name in enumerate(names)
        for path in sorted(files_in(folder / name), key=lambda path: (len(path), path))
        if header(path, path)
    ]
    if not files:
        raise UserError(
            f'{folder} is no set: it has no pictures in folders named by their class '
            '(for images.pt with labels.pt beside it name the file)'
        )
    pictures = [read_image(path) for path, _ in files]
    if len({picture.shape for picture in pictures}) > 1:
        raise UserError(f'{folder} holds pictures of different sizes, or grey and coloured ones')
    images = _planar(torch.from_numpy(np.stack(pictures)))
    labels = torch.tensor([label for _, label in files])
    return {'data': [[images, labels]], 'class_names': names}


def _planar(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, C, H, W) of (N, H, W), (N, H, W, C) or images that are so already."""
    if images.ndim == 3:
        return images[:, None]
    planar = images.shape[1] in (1, 3) and images.shape[3] not in (1, 3)
    # A copy: contiguous() keeps the strides of one channel, and passes of other strides round
    # differently.
    whole = {'memory_format': torch.contiguous_format}
    return images if planar else images.permute(0, 3, 1, 2).clone(**whole)


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
    images, labels = (torch.as_tensor(part).detach() for part in data)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    return [images, _widened(labels) if labels.dtype in WHOLE_NUMBERS else labels]


def _widened(labels: torch.Tensor) -> torch.Tensor:
    """Return whole numbers of any width as int64, one-hot rows as probabilities."""
    if labels.layout is not torch.strided or labels.device.type == 'meta':
        return labels
    if labels.dtype is torch.bool and labels.ndim < 2:
        return labels  # True and False are no numbers of classes
    labels = labels.long()
    one_hot = labels.ndim == 2 and (labels >= 0).all() and (labels.sum(1) == 1).all()
    return labels.float() if one_hot else labels


def faults_of(images: torch.Tensor, labels: torch.Tensor) -> list[str]:
    """Return in words what keeps two tensors from being a set, [] if nothing does."""
    if not in_memory(images) or not in_memory(labels):
        return []  # of whatever a file may hold: storage/kinds.py names it
    faults = []
    if images.ndim != 4:
        faults.append(f'images of shape {tuple(images.shape)} are not (N, C, H, W)')
    elif not (images.is_floating_point() or images.dtype is torch.uint8):
        faults.append(f'images of {images.dtype} are neither bytes nor floating numbers')
    elif not images.numel():
        faults.append(f'images of shape {tuple(images.shape)} have no pixel')
    elif wrong := int((~images.float().isfinite().flatten(1).all(1)).sum()):
        faults.append(f'{wrong} of {len(images)} images hold NaN or infinite values')
    if labels.ndim not in (1, 2) or labels.shape[0] != (images.shape or [1])[0]:
        shapes = tuple(images.shape), tuple(labels.shape)
        faults.append('images of shape {}, but labels of shape {}'.format(*shapes))
    elif labels.ndim == 1:
        numbers = labels.double()  # True and False cannot be rounded
        wrong = numbers[(numbers.round() != numbers) | (numbers < 0) | (numbers >= MOST_CLASSES)]
        if len(wrong):
            faults.append(f'the label {wrong[0]:.4g} is no class: they are numbered from 0')
    elif not labels.is_floating_point():
        faults.append('rows of whole numbers are no labels unless they are one-hot')
    elif not labels.float().isfinite().all():
        faults.append('soft labels hold NaN or infinite values')
    return faults


def hard(labels: torch.Tensor) -> torch.Tensor:
    """Return classes (N,) of labels (N,) or (N, K)."""
    return labels.argmax(1) if labels.ndim == 2 else labels.long()


def scale_of(images: torch.Tensor, result: dict) -> float | None:
    """Return what value is white, if images are pixels: 255 or 1; None for normalised ones.

    A file that tells its normalisation is believed. Else normalised images have values of both
    signs, about 0. Learned pixels may leave [0, 1] a little.
    """
    if images.dtype is torch.uint8:
        return 255
    if {'mean', 'zca'} & result.keys() or 'data_hash' in result.get('args', {}):
        return None
    images = images.float()
    low, high = float(images.min()), float(images.max())
    if low >= 0 and (high <= 1 or high > FAR):
        return 255 if high > 1 else 1
    learned = low >= -1 and high <= 2 and images.mean() > 0.2 and images.std() < 0.4
    return 1 if learned else None


def as_pixels(result: dict, exp: int, statistics) -> tuple[torch.Tensor, str]:
    """Return images (N, C, H, W) of set exp, 0 black and 1 white, and how the file has them.

    Learned images may leave [0, 1]. statistics(): mean and std of the normalisation; asked if the
    images are neither pixels nor whitened, and the file does not tell. Raises UserError for
    whitened images without their looks.
    """
    images = result['data'][exp][0]
    if 'viewable' in result:
        looks = result['viewable'][exp]
        return looks.float() / (255 if looks.dtype is torch.uint8 else 1), 'whitened'
    if 'zca' in result:
        raise UserError(
            'the set is whitened, and its file lacks what it looks like (viewable): it cannot be '
            'shown, but exported as .pt'
        )
    white = scale_of(images, result)
    if white:
        return images.float() / white, f'pixels 0 … {white}'
    told = {'mean', 'std'} <= result.keys()
    parts = (result['mean'], result['std']) if told else statistics()
    mean, std = (torch.tensor(part).view(1, -1, 1, 1) for part in parts)
    return images.float() * std + mean, 'normalised'


def labels_beside(path: Path) -> Path:
    """Return the file of the labels of images that are alone in a file."""
    if 'images' in path.name:
        return path.with_name(path.name.replace('images', 'labels'))
    return path.with_name(f'{path.stem}_labels{path.suffix}')


def without_labels(files: list) -> list:
    """Return the files, paths or words, without those that hold the labels of others among them."""
    labels = {labels_beside(Path(file)) for file in files}
    return [file for file in files if Path(file) not in labels]


def content_hash(path: Path) -> str:
    """Return a hash of all files that a set is in, and of what they are called in a folder."""
    if path.is_dir():
        files = [Path(file) for file in files_in(path)]
        parts = [f'{file.relative_to(path)} {file_hash(file)}' for file in files if file.is_file()]
        return hashlib.sha256('\n'.join(parts).encode(errors='surrogateescape')).hexdigest()
    beside = labels_beside(path)
    hashes = [file_hash(file) for file in (path, beside) if file.is_file()]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256(' '.join(hashes).encode()).hexdigest()


def _is_array(value) -> bool:
    return isinstance(value, np.ndarray | torch.Tensor)
