"""Write a condensed set for other programs: pictures in folders, a Keras archive, or tensors.

    python main_export.py --out pictures --synset results/<run>/res_*.pt    # <class>/0.png, …
    python main_export.py --out set.npz --synset results/<run>/res_*.pt     # x_train, y_train
    python main_export.py --out set.pt --synset results/<run>/res_*.pt      # for DD-Ranking

main_eval.py --synset reads all three. A folder and an archive hold pixels 0 … 255, so values that
no pixel has are clipped; it says how much. Tensors keep every value: DD-Ranking reads them.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dataset.data import load_dataset
from dataset.readers import DATASETS
from experiment.flags import Parser, natural, positive
from experiment.layouts import hard, labels_beside, scale_of
from experiment.result import load_result
from experiment.values import place
from storage.files import check_writable, save_tensors, write_atomic
from utils import UserError, script


def pixels_of(images: torch.Tensor, mean, std) -> tuple[np.ndarray, float, float]:
    """Return uint8 pixels (N, H, W, C) of images (N, C, H, W), and what clipping lost.

    The loss is the share of values beyond the pixels, and their mean distance from them in steps.
    """
    white = scale_of(images)
    mean, std = (torch.tensor(value).view(1, -1, 1, 1) for value in (mean, std))
    values = images.float() * 255 / white if white else (images.float() * std + mean) * 255
    kept = values.clamp(0, 255)
    lost = (values - kept).abs()
    beyond = lost > 0.5
    steps = float(lost[beyond].mean()) if beyond.any() else 0.0
    pixels = kept.round().byte().permute(0, 2, 3, 1).numpy()
    return pixels, float(beyond.float().mean()), steps


def write_pictures(folder: Path, pixels: np.ndarray, labels: np.ndarray, names: list[str]) -> None:
    """Write one PNG an image to folder/<class>/<number>.png."""
    for c, name in enumerate(names):
        own = folder / name.replace('/', '-')
        own.mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pixels[labels == c]):
            buffer = io.BytesIO()
            Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture).save(
                buffer, 'png'
            )
            write_atomic(own / f'{number}.png', buffer.getbuffer())


def export(images, labels, mean, std, names: list[str], out: Path) -> None:
    """Write images (N, C, H, W) and labels to out, class after class, and say what was written."""
    order = torch.sort(hard(labels), stable=True).indices
    images, labels = images[order], labels[order]
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == '.pt':
        save_tensors(out, images.float())
        save_tensors(labels_beside(out), labels)
        white = scale_of(images)
        scale = f'pixels 0 … {white}' if white else 'normalised'
        print(f'{out}: {len(images)} images, {scale}; their labels: {labels_beside(out)}')
        return
    pixels, beyond, steps = pixels_of(images, mean, std)
    classes = hard(labels).numpy()
    if out.suffix == '.npz':
        buffer = io.BytesIO()
        np.savez_compressed(buffer, x_train=pixels, y_train=classes, class_names=np.array(names))
        write_atomic(out, buffer.getbuffer())
    else:
        write_pictures(out, pixels, classes, names)
    print(
        f'{out}: {len(pixels)} images of {len(names)} classes; {100 * beyond:.1f} % of the values '
        f'are no pixels and were clipped, by {steps:.0f} of 255 steps on average'
    )
    if labels.ndim == 2:
        print('the labels are soft; only the class of the largest is written')


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__)
    parser.add_argument('--synset', required=True, type=Path, metavar='FILE', help='the set')
    parser.add_argument(
        '--out', required=True, type=place, help='folder, or file that ends in .npz or .pt'
    )
    parser.add_argument('--dataset', help='what it is of, if the file does not say')
    parser.add_argument('--data_path', default='data', help='folder of the data sets')
    parser.add_argument('--im_size', type=positive, metavar='N', help='pixels it was resized to')
    parser.add_argument('--exp', type=natural, default=0, help='which set of it (default: 0)')
    return parser


def statistics_of(result: dict, args) -> tuple[list[float], list[float], list[str]]:
    """Return mean, std and class names: of the file, else of the data set that is named."""
    images, labels = result['data'][0]
    known = DATASETS.get(args.dataset or result['args'].get('dataset'))
    names = result.get('class_names') or (list(known.class_names) if known else [])
    if scale_of(images) or 'zca' in result:
        mean, std = [0.0] * images.shape[1], [1.0] * images.shape[1]  # pixels already
    elif 'mean' in result and 'std' in result:
        mean, std = result['mean'], result['std']
    elif known:
        mean, std = known.mean, known.std
    elif args.dataset:
        data = load_dataset(args.dataset, args.data_path, args.im_size)
        mean, std = data.mean.flatten().tolist(), data.std.flatten().tolist()
        names = names or list(data.class_names)
    else:
        raise UserError(
            f'{args.synset} does not say how it was normalised; pass the --dataset that it is of'
        )
    if len(mean) != images.shape[1]:
        raise UserError(f'{args.synset} has {images.shape[1]} channels, {args.dataset} {len(mean)}')
    most = int(hard(labels).max()) + 1
    return mean, std, names if len(names) >= most else [str(c) for c in range(most)]


def check_out(out: Path) -> None:
    """Raise UserError unless out can be written: a file, or a folder that is new or empty."""
    if out.suffix in ('.npz', '.pt'):
        return check_writable(out, '--out')
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f'--out {out} is a folder with content; name a new one, or .npz or .pt')
    return check_writable(out / 'picture.png', '--out')


@script
def main(argv=None):
    """Write the set in the layout that --out asks for."""
    args = make_parser().parse_args(argv)
    check_out(args.out)
    result = load_result(args.synset)
    if args.exp >= len(result['data']):
        raise UserError(f'--exp {args.exp}: {args.synset} has sets 0 … {len(result["data"]) - 1}')
    images, labels = result['data'][args.exp]
    if 'viewable' in result and args.out.suffix != '.pt':
        images = result['viewable'][args.exp]
        result = result | {'mean': [0.0] * images.shape[1], 'std': [1.0] * images.shape[1]}
    export(images, labels, *statistics_of(result, args), args.out)


if __name__ == '__main__':
    main()
