"""Pictures in folders: root/train/<class>/…, root/test/<class>/…, and what people have instead.

val/ is the test part where there is no test/. Without any, classes are the folders of the root, and
a share of each is held out. tiny-imagenet-200 is read as unzipped. Names that begin with a dot, and
__MACOSX, are passed over.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataset.names import name_of
from dataset.parts import held_out, part_of, refuse, say, some
from dataset.pictures import Header, bar, empty, fill, header, keras, odd_sizes
from utils import UserError

ANNOTATIONS = 'val_annotations.txt'  # of tiny-imagenet-200: file, class, box
CLASS_NAMES = 'words.txt'  # of tiny-imagenet-200: class, its name
NEEDS = (
    'it needs train/<class>/* and test/<class>/* images (or val/), or <class>/* of two classes '
    'or more'
)


def is_visible(name: str) -> bool:
    """Tell whether a file or folder is the user's own, not left there by a system or an editor."""
    return not name.startswith('.') and name != '__MACOSX'


def folders_in(folder: Path) -> list[str]:
    """Return the sorted names of the visible folders in a folder."""
    return sorted(path.name for path in folder.iterdir() if is_visible(path.name) and path.is_dir())


def files_in(folder: Path) -> list[str]:
    """Return the paths of all visible files in a folder and its folders, sorted.

    Links to folders are followed, each folder once. Raises UserError for one that is closed.
    """
    found, real = [], os.path.realpath(folder)
    seen = {real, *map(str, Path(real).parents)}  # a link upwards would lead to other classes
    for place, folders, names in os.walk(folder, onerror=_closed, followlinks=True):
        visible, folders[:] = sorted(filter(is_visible, folders)), []
        for name in visible:
            there = os.path.realpath(os.path.join(place, name))
            if there not in seen:
                seen.add(there)
                folders.append(name)
        found += [os.path.join(place, name) for name in names if is_visible(name)]
    return sorted(found)


def _closed(error):
    """Raise UserError for a folder that cannot be read; one that is not there has no files."""
    if not isinstance(error, FileNotFoundError):
        raise UserError(f'{error.filename} cannot be read ({error.strerror})') from error


@dataclass
class Files:
    """The pictures of one part of a set.

    paths, labels, headers: of each; empty: the folders of classes without any; other: files that
    are no pictures; loose: files outside of the folders of classes.
    """

    paths: list[str]
    labels: list[int]
    headers: list[Header]
    empty: list[str]
    other: list[str]
    loose: list[str]


def read_folder(root: Path, im_size: int | None = None, squash: bool = False):
    """Return arrays in Keras layout, and class names, from the pictures in a folder.

    squash: as in pictures.resized(). Raises UserError for what cannot be read or told apart.
    """
    name = name_of(str(root))
    train, test, found = _places(root)
    names = folders_in(train)
    if not names:
        raise UserError(f'{train} has no class folders; {NEEDS}; found: {found}')
    faults, parts = [], {}
    for split, place in (('train', train), ('test', test)):
        if place:
            parts[split] = _listed(place, names, faults)
    _say_left_out(name, parts)
    faults += [
        f'{path} has no images' for part in parts.values() for path in sorted(set(part.empty))
    ]
    paths = [path for part in parts.values() for path in part.paths]
    if not im_size and paths:
        faults += odd_sizes([one for part in parts.values() for one in part.headers], paths)
    refuse(root, faults)
    return _pixels(root, name, parts, im_size, squash), _class_names(root, names)


def _places(root):
    """Return the folders of the training and the test part (None: none), and what was found."""
    visible = [path for path in sorted(root.iterdir()) if is_visible(path.name)]
    found = some([f'{path.name}/' if path.is_dir() else path.name for path in visible]) or 'nothing'
    parts = {}
    for folder in folders_in(root):
        parts.setdefault(part_of(folder), []).append(root / folder)
    train = parts.get('train', [None])[0]
    candidates = [*parts.get('test', ()), *parts.get('val', ())]
    if train is None:
        if candidates or len(parts.get(None, ())) < 2:
            inside = folders_in(root)
            way = f'; or is it --dataset {root / inside[0]}?' if len(inside) == 1 else ''
            raise UserError(f"{root} has no folder 'train'; {NEEDS}; found: {found}{way}")
        return root, None, found
    classes = set(folders_in(train))
    labelled = [
        place
        for place in candidates
        if (place / ANNOTATIONS).is_file() or classes & set(folders_in(place))
    ]
    if not labelled:  # images without classes, as contests hand them out, are no test part
        for place in candidates:
            foreign = folders_in(place)
            if foreign:
                raise UserError(f'{place} has the class {foreign[0]!r}, which {train.name} has not')
    test = labelled[0] if labelled else None
    aside = [f'{folder}/' for folder in folders_in(root) if root / folder not in (train, test)]
    chosen = f'{test.name}/ is the test part' if test and part_of(test.name) == 'val' else ''
    left = f'left out: {some(aside)}' if aside else ''
    if chosen or left:
        say(name_of(str(root)), '; '.join(filter(None, (chosen, left))))
    return train, test, found


def _candidates(place, names, faults):
    """Yield (path, label, folder of the class) of the files of one part, by class and name."""
    if (place / ANNOTATIONS).is_file():
        yield from _annotated(place, names, faults)
        return
    known = {name: label for label, name in enumerate(names)}
    foreign = [folder for folder in folders_in(place) if folder not in known]
    if foreign:
        faults.append(f'{place} has the class {foreign[0]!r}, which the training part has not')
    for name, label in known.items():
        for path in files_in(place / name):
            yield path, label, place / name


def _annotated(place, names, faults):
    """Yield the pictures that tiny-imagenet-200 lists in a file, by class and name."""
    known, rows = {name: label for label, name in enumerate(names)}, []
    text = (place / ANNOTATIONS).read_text(encoding='utf-8', errors='replace')
    for line in filter(str.strip, text.splitlines()):
        file, wnid = (*line.split('\t'), '')[:2]
        folder = place / 'images' if (place / 'images').is_dir() else place
        if wnid not in known:
            faults.append(f'{place / ANNOTATIONS} has the class {wnid!r}, which train has not')
            return
        rows.append((known[wnid], str(folder / file)))
    for label, path in sorted(rows):
        yield path, label, place / names[label]


def _listed(place, names, faults):
    """Return the Files of one part: every header is read, what is broken is added to faults."""
    part = Files([], [], [], [], [], [])
    rows, full = list(_candidates(place, names, faults)), set()
    for path, label, _ in bar(rows, f'{place.name}: headers', len(rows)):
        try:
            one = header(path, path)
        except UserError as error:
            faults.append(str(error))
            full.add(label)
            continue
        if one is None:
            part.other.append(path)
            continue
        full.add(label)
        for column, value in ((part.paths, path), (part.labels, label), (part.headers, one)):
            column.append(value)
    part.empty = [str(place / name) for label, name in enumerate(names) if label not in full]
    part.loose = [
        str(path)
        for path in sorted(place.iterdir())
        if is_visible(path.name) and path.name != ANNOTATIONS and path.is_file()
    ]
    return part


def _say_left_out(name, parts):
    """Say in one line what was not taken for a picture of the set."""
    for kind, what in (('other', 'no pictures'), ('loose', 'outside of class folders')):
        paths = [Path(path).name for part in parts.values() for path in getattr(part, kind)]
        if paths:
            say(name, f'left out, {what}: {len(paths)} ({some(paths)})')


def _pixels(root, name, parts, im_size, squash):
    """Return the arrays of the parts; an only part is split."""
    headers = [one for part in parts.values() for one in part.headers]
    colour = any(one.colour for one in headers)
    size = (im_size, im_size) if im_size else headers[0].size
    del headers
    rows = {split: list(zip(part.paths, part.labels, strict=True)) for split, part in parts.items()}
    if 'test' not in rows:
        paths, labels = parts['train'].paths, np.array(parts['train'].labels)
        mask = held_out(name, labels, [Path(path).relative_to(root).as_posix() for path in paths])
        for split, chosen in (('test', mask), ('train', ~mask)):
            rows[split] = [(paths[i], int(labels[i])) for i in np.flatnonzero(chosen)]
    arrays, faults = {}, []
    for split, part in rows.items():
        pixels = empty(len(part), 3 if colour else 1, size)
        files = ((path, path) for path, _ in bar(part, f'{split}: pictures', len(part)))
        faults += fill(pixels, files, im_size, squash)
        arrays[f'x_{split}'] = keras(pixels)
        arrays[f'y_{split}'] = np.array([label for _, label in part], np.int64)
    refuse(root, faults)
    return arrays


def _class_names(root, names):
    """Return the names of the classes: those of their folders, or what tiny-imagenet-200 says."""
    known, path = {}, root / CLASS_NAMES
    if path.is_file():
        for line in path.read_text(encoding='utf-8', errors='replace').splitlines():
            wnid, _, words = line.partition('\t')
            known[wnid] = words.partition(',')[0]
    return tuple(known.get(name) or name for name in names)
