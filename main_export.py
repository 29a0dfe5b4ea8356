"""Write a condensed set for other programs: pictures in folders, a Keras archive, or tensors.

    python main_export.py --out pictures --synset results/<run>/res_*.pt    # <class>/0.png, …
    python main_export.py --out set.npz --synset results/<run>/res_*.pt     # x_train, y_train
    python main_export.py --out set.pt --synset results/<run>/res_*.pt      # for DD-Ranking

main_eval.py --synset reads all three. A folder and an archive hold pixels 0 … 255, so values that
no pixel has are clipped; it says how much. Tensors keep every value; DD-Ranking reads them.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import io
import mimetypes
import os
import shlex
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import torch

from dataset.data import load_dataset
from dataset.folders import is_visible
from dataset.pictures import png_bytes
from dataset.readers import DATASETS
from evaluation.protocol import protocol_of
from evaluation.sources import OF_THE_DATA, words_of
from experiment.layouts import as_pixels, hard, labels_beside, without_labels
from experiment.parser import Parser
from experiment.result import load_result
from experiment.values import natural, place, positive
from storage.files import MOST, check_writable, save_tensors, write_atomic
from utils import UserError, script

OTHER_FILES = '.npy', '.pth', '.parquet', '.safetensors'  # not to be a folder's name by a slip


def values_of(result: dict, exp: int, args) -> tuple[torch.Tensor, str]:
    """Return images (N, C, H, W) of set number exp as pixels about 0 … 255, and how it has them.

    Whitened images are shown as they look.
    """

    def statistics():
        name = args.dataset or result['args'].get('dataset')
        known = DATASETS.get(name)
        if known:
            mean, std = known.mean, known.std
        elif args.dataset:
            data = load_dataset(args.dataset, args.data_path, args.im_size)
            mean, std = data.mean.flatten().tolist(), data.std.flatten().tolist()
        else:
            raise UserError(
                f'{args.synset} does not say how it was normalised; pass the --dataset it is of'
            )
        channels = result['data'][exp][0].shape[1]
        if len(mean) != channels:
            raise UserError(f'{args.synset} has {channels} channels, {name} has not')
        return mean, std

    images, how = as_pixels(result, exp, statistics)
    return images * 255, how


def names_of(result: dict, labels: torch.Tensor, args) -> list[str]:
    """Return the names of the classes: of the file, of its known data set, or their numbers."""
    known = DATASETS.get(args.dataset or result['args'].get('dataset'))
    names = result.get('class_names') or (known.class_names if known else ())
    most = int(labels.max())
    return list(names) if len(names) > most else [str(c) for c in range(most + 1)]


def clipped(values: torch.Tensor) -> tuple[np.ndarray, str]:
    """Return values (N, C, H, W) as uint8 pixels (N, H, W, C), and what clipping lost."""
    kept = values.clamp(0, 255)
    lost = (values - kept).abs()
    beyond = lost > 0.5
    steps = float(lost[beyond].mean()) if beyond.any() else 0.0
    text = (
        f'{100 * float(beyond.float().mean()):.1f} % of the values are no pixels and were clipped, '
        f'by {steps:.0f} of 255 steps on average'
    )
    return kept.round().byte().permute(0, 2, 3, 1).numpy(), text


def write_pictures(folder: Path, pixels: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Write one PNG an image to folder/<class>/<number>.png."""
    for c, name in enumerate(names):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pixels[labels == c]):
            write_atomic(folder / name / f'{number}.png', png_bytes(picture))


def export(result: dict, args) -> None:
    """Write the set, class after class, and say what was written."""
    out, (images, labels) = args.out, result['data'][args.exp]
    order, kind = torch.sort(hard(labels), stable=True).indices, out.suffix.lower()
    values, stored = (images, '') if kind == '.pt' else values_of(result, args.exp, args)
    out.parent.mkdir(parents=True, exist_ok=True)
    if kind == '.pt':
        save_tensors(labels_beside(out), labels[order])
        save_tensors(out, images[order].float())
        print(f'{out}: {len(images)} images as they are; their labels: {labels_beside(out)}')
    else:
        names = names_of(result, hard(labels), args)
        pixels, lost = clipped(values[order])
        classes = hard(labels[order]).numpy()
        if kind == '.npz':
            buffer = io.BytesIO()
            np.savez_compressed(
                buffer, x_train=pixels, y_train=classes, class_names=np.array(names)
            )
            write_atomic(out, buffer.getbuffer())
        else:
            check_folders(names)
            write_pictures(out, pixels, classes, names)
        print(f'{out}: {len(pixels)} images of {len(names)} classes; {lost}')
        if stored == 'whitened':
            print('they are what whitened images look like: only a .pt keeps the set itself')
        if labels.ndim == 2:
            print('the labels are soft; only the class of the largest is written')
    print(f'evaluate it with main_eval.py {how_to_evaluate(result["args"])}'.rstrip())


def how_to_evaluate(args: dict) -> str:
    """Return the flags of main_eval.py that a set exported from such a run no longer names."""
    flags, protocol = words_of(args, (*OF_THE_DATA, 'model'), set()), protocol_of(args)
    return shlex.join([*flags, *['--protocol', protocol] * (protocol != 'dc')])


def check_folders(names: list[str]) -> None:
    """Raise UserError unless classes of these names can each have a folder, on any disk."""
    # Names that differ in case, in how accents are stored, or in a last dot, are one on some disks.
    folders = [unicodedata.normalize('NFC', name).casefold().rstrip(' .') for name in names]
    counts = Counter(folders)
    odd = [
        name
        for name, folder in zip(names, folders, strict=True)
        if counts[folder] > 1 or not folder or not names_a_folder(name)
    ]
    if odd:
        raise UserError(
            f'class names such as {odd[0]!r} cannot each name a folder; use --out x.npz'
        )


def names_a_folder(name: str) -> bool:
    """Tell whether a folder can have this name, and is read back."""
    try:
        size = len(os.fsencode(name))
    except UnicodeEncodeError:
        return False
    return size <= MOST and is_visible(name) and not set(name) & set('/\\\0')


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__)
    parser.add_argument(
        '--synset', required=True, nargs='+', type=place, metavar='FILE', help='the file of the set'
    )
    parser.add_argument(
        '--out', required=True, type=place, help='folder, or file that ends in .npz or .pt'
    )
    parser.add_argument('--dataset', help='what it is of, if the file does not say')
    parser.add_argument('--data_path', default='data', help='folder of the data sets')
    parser.add_argument('--im_size', type=positive, metavar='N', help='pixels it was resized to')
    parser.add_argument('--exp', type=natural, default=0, help='which set of it (default: 0)')
    return parser


def only(files: list[Path]) -> Path:
    """Return the one file that is no evaluation of others; raise UserError if there are more."""
    files = without_labels(files)
    if len(files) > 1:
        files = [file for file in files if load_result(file)['args'].get('made_by') is None]
    if len(files) != 1:
        raise UserError(
            f'--synset: a call exports one set, and there are {len(files)}, evaluations apart; '
            'name one'
        )
    return files[0]


def check_out(out: Path, synset: Path) -> None:
    """Raise UserError unless out can be written: a file, or a folder that is new or empty."""
    kind = out.suffix.lower()
    if kind in ('.npz', '.pt'):
        files = [out, labels_beside(out)] if kind == '.pt' else [out]
        for file in files:
            check_writable(file, '--out')
            if file.resolve() in (synset.resolve(), labels_beside(synset).resolve()):
                raise UserError(f'--out {out} would replace {file}, which is the set itself')
    elif kind in OTHER_FILES or mimetypes.guess_type(out.name) != (None, None):
        raise UserError(f'--out {out}: name a folder, or a file that ends in .npz or .pt')
    elif synset.is_dir() and out.resolve().is_relative_to(synset.resolve()):
        raise UserError(f'--out {out} is within {synset}, the set itself; name another folder')
    elif out.is_dir() and any(out.iterdir()):
        raise UserError(f'--out {out} is a folder with content; name a new one, or .npz or .pt')
    else:
        check_writable(out / 'picture.png', '--out')


@script
def main(argv=None):
    """Write the set in the layout that --out asks for."""
    args = make_parser().parse_args(argv)
    args.synset = only(args.synset)
    check_out(args.out, args.synset)
    result = load_result(args.synset)
    if args.exp >= len(result['data']):
        raise UserError(f'--exp {args.exp}: {args.synset} has sets 0 … {len(result["data"]) - 1}')
    if result['data'][0][0].shape[1] not in (1, 3) and args.out.suffix.lower() != '.pt':
        raise UserError(f'{args.synset}: its images are neither grey nor colour; use --out set.pt')
    if args.dataset and ({'mean', 'std'} <= result.keys() or 'zca' in result):
        raise UserError(f'--dataset does nothing: {args.synset} says how it was normalised')
    export(result, args)


if __name__ == '__main__':
    main()
