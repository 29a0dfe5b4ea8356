"""Sets to evaluate: of any project, checked against the data, in the normalisation of the data.

A file says as much as its project stored. What is assumed of the rest is said in one line a file.
"""

from dataclasses import dataclass, field
from pathlib import Path

import torch

from dataset.data import Data
from dataset.names import name_of
from dataset.readers import DATASETS
from experiment.layouts import FAR, hard, scale_of
from experiment.result import load_result
from utils import UserError

# The protocols of methods that augment, as their authors do.
AUGMENTED = 'DSA', 'BS-DSA', 'DM', 'BS-DM', 'IDM', 'BS-IDM', 'MTT', 'CAFE'
PROTOCOLS = dict.fromkeys(AUGMENTED, 'dsa')
PROTOCOLS |= {'IDC': 'idc', 'DREAM': 'idc'}


@dataclass
class Sets:
    """The sets of a file, and what is known of them.

    pairs: [(images (N, C, H, W) normalised as the data, labels (N,) or (N, K)), …] on the device of
    the data; made_by: the arguments of the run that made them, {} of another project; stored,
    factor: what tiles are decoded from; scale: how the numbers were read; notes: what to know.
    """

    path: Path
    pairs: list
    made_by: dict
    stored: list
    factor: int
    scale: str = ''
    notes: list[str] = field(default_factory=list)


def read_sets(path: Path, data: Data, most: int | None = None, result: dict | None = None) -> Sets:
    """Read the sets of a file, the first `most`, and bring them to the data.

    result: what load_result returns of the file, if it was read. Raises UserError unless the sets
    fit the data.
    """
    result = result or load_result(path)
    made_by, stored = result['args'], result.get('stored', [])[:most]
    # Only our files hold tiles decoded, with what they are decoded from beside them.
    factor = (made_by.get('factor') or result.get('factor') or 1) if stored else 1
    sets = Sets(path, [], made_by, stored, factor)
    check_source(path, made_by, data, sets.notes)
    names = result.get('class_names')
    for images, labels in result['data'][:most]:
        check_shape(path, images, labels, data)
        images, sets.scale = scaled(images, result, data)
        if not images.isfinite().all():
            raise UserError(f'{path}: its images are not finite when normalised as {data.name}')
        labels = by_name(path, labels, names, data)
        sets.pairs.append((images.to(data.device), of_classes(labels, sets.notes).to(data.device)))
    images, labels = sets.pairs[0]
    present = len(hard(labels).unique())
    if present < data.num_classes:
        sets.notes.append(f'only {present} of the {data.num_classes} classes have an image')
    low, high = float(images.min()), float(images.max())
    if max(-low, high) > FAR:
        sets.notes.append(
            f'values from {low:.1f} to {high:.1f} are no normalised pixels (whitened by ZCA?): '
            'the accuracy means little'
        )
    return sets


def check_source(path: Path, made_by: dict, data: Data, notes: list[str]) -> None:
    """Raise UserError if the set was condensed from other data."""
    source, known = made_by.get('dataset'), data.name in DATASETS
    if source and name_of(source).casefold() != data.name.casefold():
        raise UserError(f'{path} was condensed from {source}; pass --dataset {source}')
    whitened = bool(made_by.get('zca'))
    if made_by and whitened != bool(data.whitening):
        parts = ('whitened images', 'without') if whitened else ('plain images', 'with')
        raise UserError(
            f'{path} was condensed from {parts[0]}, but {data.name} is read {parts[1]} --zca'
        )
    if made_by.get('data_hash', data.fingerprint) != data.fingerprint:
        # Copies of a public data set differ in a few pixels, data of one's own in everything.
        if not known:
            raise UserError(f'{path} was condensed from other images of the name {data.name}')
        notes.append(f'condensed from another copy of {data.name}, whose pixels differ')


def check_shape(path: Path, images: torch.Tensor, labels: torch.Tensor, data: Data) -> None:
    """Raise UserError unless images and labels are of the shape and the classes of the data."""
    shape, classes = tuple(images.shape[1:]), hard(labels)
    width = labels.shape[1] if labels.ndim == 2 else data.num_classes
    low, high = int(classes.min()), int(classes.max())
    if shape != data.shape or high >= data.num_classes or width != data.num_classes:
        raise UserError(
            f'{path} holds images {shape} with labels {low} … {high}, but {data.name} has '
            f'{data.shape} and {data.num_classes} classes; pass the --dataset (and --im_size) '
            'that it was condensed from'
        )


def scaled(images: torch.Tensor, result: dict, data: Data) -> tuple[torch.Tensor, str]:
    """Return images normalised as the data, and how their numbers were read."""
    mean, std = data.mean.cpu(), data.std.cpu()
    white = scale_of(images, result)
    if data.whitening:
        if not white:
            return images.float(), 'whitened'
        return data.whitening((images.float() / white).to(data.device)), f'pixels 0 … {white}'
    if white:
        return (images.float() / white - mean) / std, f'pixels 0 … {white}'
    own_mean, own_std = (
        torch.tensor(result[key], dtype=torch.float32).view(1, -1, 1, 1) if key in result else ours
        for key, ours in (('mean', mean), ('std', std))
    )
    if torch.allclose(mean, own_mean, atol=1e-4) and torch.allclose(std, own_std, atol=1e-4):
        return images.float(), 'normalised'
    images = (images.float() * own_std + own_mean - mean) / std
    return images, 'normalised by the mean and std in the file'


def by_name(path: Path, labels: torch.Tensor, names: list[str] | None, data: Data) -> torch.Tensor:
    """Return labels in the order of the data's classes, if a file names its own otherwise."""
    if not names or tuple(names) == data.class_names:
        return labels
    width = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    if width > len(names) or len({*names}) < len(names):
        raise UserError(f'{path}: its class_names are not one name a label')
    unknown = [name for name in names if name not in data.class_names]
    if unknown:
        raise UserError(
            f'{path} has the class {unknown[0]!r}, but {data.name} has '
            f'{", ".join(data.class_names)}; pass the --dataset that it was made from'
        )
    places = torch.tensor([data.class_names.index(name) for name in names])
    if labels.ndim == 1:
        return places[labels]
    ordered = labels.new_zeros(len(labels), data.num_classes)
    ordered[:, places] = labels
    return ordered


def of_classes(labels: torch.Tensor, notes: list[str]) -> torch.Tensor:
    """Return classes (N,), or the probability of each class (N, K)."""
    if labels.ndim == 1:
        return labels.long()
    labels = labels.float()
    if labels.min() < 0 or not torch.allclose(labels.sum(1), torch.ones(len(labels)), atol=1e-3):
        labels = labels.softmax(1)
        notes.append('labels are logits: their softmax is taken')
    return labels


def assumed_protocol(path: Path, made_by: dict) -> tuple[str, str]:
    """Return the protocol of a set that names none, and why."""
    parts = path.stem.split('_')
    method = made_by.get('method') or (parts[1] if parts[0] == 'res' and len(parts) > 1 else '')
    if method in PROTOCOLS:
        return PROTOCOLS[method], f'as published for {method}'
    return 'dc', 'the file names none'


RECOGNISED = 'file', 'images', 'labels', 'read as', 'protocol'


def description(sets: Sets, protocol: str, why: str) -> tuple[str, ...]:
    """Return what was recognised in a file: a line of a table with the columns RECOGNISED."""
    images, labels = sets.pairs[0]
    kind = 'soft' if labels.ndim == 2 else 'classes'
    shape = 'x'.join(map(str, images.shape[1:]))
    parts = str(sets.path), f'{len(sets.pairs)} x {len(images)} of {shape}', kind
    return *parts, sets.scale, f'{protocol} ({why})'
