"""Picture files as uint8 pixels: headers first, then each picture into its place of one array.

EXIF orientation is applied. Transparent parts show white. Grey images among coloured ones become
coloured.
"""

import contextlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from tqdm import tqdm

from dataset.parts import some
from processes import ranks
from storage.files import check_file
from utils import UserError, printable

FORMATS = 'PNG', 'JPEG', 'BMP', 'GIF', 'TIFF', 'WEBP', 'PPM'
# Files that call themselves pictures: one that cannot be read is a fault, not left out.
SUFFIXES = (
    '.png', '.jpg', '.jpeg', '.jfif', '.bmp', '.gif', '.tif', '.tiff', '.webp', '.ppm', '.pgm',
)  # fmt: skip
ORIENTATION = 0x0112  # the EXIF tag
TURNED = 5, 6, 7, 8  # its values by which width and height change places
EXIF = {'exif', 'xmp', 'Raw profile type exif'}  # where files have it
DEEP = 'pixels of 32 bits; save it with 8 or 16'
SECONDS = 1  # of reading before a bar is shown


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of a picture says: its width and height as shown, whether it has colour."""

    size: tuple[int, int]
    colour: bool


def bar(files: Iterable, what: str, total: int) -> Iterable:
    """Return files with a progress bar, which only long work shows."""
    return tqdm(files, what, total, leave=False, delay=SECONDS, disable=not ranks.leads())


@contextlib.contextmanager
def reading(path: Path) -> Iterator:
    """Open a file; a progress bar shows how much of it has been read, if that takes long."""
    settings = {'leave': False, 'delay': SECONDS, 'disable': not ranks.leads()}
    with (
        open(path, 'rb') as file,
        tqdm.wrapattr(file, 'read', path.stat().st_size, desc=path.name, **settings) as shown,
    ):
        yield shown


def opened(file: str | Path | bytes) -> Image.Image:
    """Open a picture by its content, whatever its name: a path, or the bytes of a file."""
    return Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=FORMATS)


def header(file: str | Path | bytes, where: str) -> Header | None:
    """Return what the header of a file says, None if it is no picture; raise UserError if broken.

    where: what to call the file in a message.
    """
    try:
        if not isinstance(file, bytes):
            check_file(file, 'picture')  # a pipe would make it wait
        with opened(file) as image:
            # A PNG without such a block would be decoded to look for one.
            blocks = EXIF & image.info.keys()
            turned = bool(blocks) and image.getexif().get(ORIENTATION) in TURNED
            size, mode, deep = image.size[::-1] if turned else image.size, image.mode, _deep(image)
    except MemoryError:
        raise
    except Exception as error:  # OSError, SyntaxError, struct.error …, by format and damage
        if not where.lower().endswith(SUFFIXES):
            return None
        raise _unreadable(where, error) from error
    if deep:
        raise _unreadable(where, DEEP)
    return Header(size, mode not in ('1', 'L') and not mode.startswith('I'))


def read_image(
    file: str | Path | bytes, im_size: int | None = None, squash: bool = False, where: str = ''
) -> np.ndarray:
    """Return a picture as uint8 (H, W) or (H, W, 3), resized to a square if im_size.

    squash, where: as in resized() and header(). Raises UserError if it cannot be read.
    """
    try:
        with opened(file) as image:
            ImageOps.exif_transpose(image, in_place=True)
            image = _opaque(image)
            return np.asarray(resized(image, im_size, squash) if im_size else image)
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(where or str(file), error) from error


def resized(image: Image.Image, im_size: int, squash: bool = False) -> Image.Image:
    """Return a picture as a square: its shorter side resized, then the centre of the longer one.

    squash: resize both sides instead, which changes what is round.
    """
    width, height = (im_size, im_size) if squash else (
        int(im_size * side / min(image.size)) for side in image.size
    )  # fmt: skip
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - im_size) / 2), round((height - im_size) / 2)
    return image.crop((left, top, left + im_size, top + im_size))


def _opaque(image):
    """Return a picture in grey or RGB, on white where it is transparent."""
    if _deep(image):
        raise ValueError(DEEP)
    if image.mode.startswith('I'):  # convert() would cut off at 255
        return Image.fromarray((np.asarray(image) / 257).round().astype(np.uint8))
    mode = 'L' if image.mode in ('1', 'L') else 'RGB'
    if image.mode in ('RGBA', 'LA', 'PA') or 'transparency' in image.info:
        image = image.convert('RGBA')
        image = Image.alpha_composite(Image.new('RGBA', image.size, 'white'), image)
    return image.convert(mode)


def _deep(image):
    """Tell whether pixels have 32 bits; PNG and PPM have 16 at most, whatever the mode says."""
    return image.mode == 'F' or (image.mode == 'I' and image.format not in ('PNG', 'PPM'))


def _unreadable(where, error):
    reason = printable(error).partition('\n')[0]
    return UserError(f'{where} cannot be read as an image ({reason})')


def odd_sizes(headers: list[Header], names: Iterable[str]) -> list[str]:
    """Return the one fault of pictures that have another size than most of them, if any has."""
    sizes = Counter(one.size for one in headers)
    (width, height), _ = sizes.most_common(1)[0]
    odd = [
        f'{name} has {one.size[0]}x{one.size[1]} pixels'
        for one, name in zip(headers, names, strict=True)
        if one.size != (width, height)
    ]
    if not odd:
        return []
    return [
        f'{len(odd)} of {len(headers)} pictures are not {width}x{height} as most are: {some(odd)}; '
        'pass --im_size N to resize them all'
    ]


def empty(num: int, channels: int, size: tuple[int, int]) -> np.ndarray:
    """Return room for num images (N, C, H, W); size: width and height."""
    try:
        return np.empty((num, channels, size[1], size[0]), np.uint8)
    except MemoryError as error:
        need = num * channels * size[0] * size[1] / 2**30
        raise UserError(
            f'{num} images of {size[0]}x{size[1]} pixels need {need:.1f} GiB of memory; '
            'pass a smaller --im_size, or take fewer images'
        ) from error


def fill(pixels: np.ndarray, files: Iterable, im_size: int | None, squash: bool) -> list[str]:
    """Read files (name, path or bytes) into pixels (N, C, H, W), in order; return the faults."""
    faults = []
    for place, (where, file) in zip(pixels, files, strict=True):
        try:
            image = read_image(file, im_size, squash, where)
        except UserError as error:
            faults.append(str(error))
            continue
        if image.shape[:2] != place.shape[1:]:  # a header of another size than its picture
            faults.append(f'{where} has {image.shape[1]}x{image.shape[0]} pixels')
        else:
            place[:] = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return faults


def keras(pixels: np.ndarray) -> np.ndarray:
    """Return images (N, C, H, W) in Keras layout, as a view: (N, H, W) if they are grey."""
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels.transpose(0, 2, 3, 1)


def tile(rows: Sequence[torch.Tensor]) -> np.ndarray:
    """Return rows of pictures, each (N, C, H, W) in [0, 1], as one picture (H', W', 3).

    White between them, and where a row is shorter than the longest.
    """
    gap, longest = max(1, rows[0].shape[-1] // 16), max(map(len, rows))
    lines = []
    for pictures in rows:
        blank = pictures.new_ones(longest - len(pictures), *pictures.shape[1:])
        pictures = torch.cat([pictures, blank]).expand(-1, 3, -1, -1)
        lines.append(torch.cat([*F.pad(pictures, [gap] * 4, value=1.0)], dim=2))
    return torch.cat(lines, dim=1).permute(1, 2, 0).numpy()


def png_bytes(pixels: np.ndarray) -> bytes:
    """Return the PNG file of uint8 pixels (H, W, C) or (H, W)."""
    buffer = io.BytesIO()
    grey = pixels.shape[2:] == (1,)
    Image.fromarray(pixels[..., 0] if grey else pixels).save(buffer, 'png')
    return buffer.getvalue()
