"""What all figures share: colours, labels, saving.

The colour-blind can tell the colours apart (Okabe & Ito, 2008).
"""

import io
from collections import Counter
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import to_hex

from storage.files import check_writable, write_atomic
from utils import UserError, printable

matplotlib.use('Agg')
from matplotlib import pyplot as plt  # noqa: E402 (the backend comes first)

OKABE_ITO = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
DASHES = '-', '--', ':', '-.'
FORMATS = 'png', 'pdf', 'svg', 'jpg', 'jpeg', 'tif', 'tiff', 'webp', 'eps', 'ps'
FIXED = dict(zip(('DC', 'BS', 'DSA', 'BS-DSA', 'BS stratified'), OKABE_ITO, strict=False))


def colors_of(labels: list[str]) -> dict[str, str]:
    """Return a colour for each label.

    A method has the same one in every figure. Labels that differ by a number at the end (k 5, k 10)
    go from light to dark. Any other label has the next free one.
    """
    taken = {label: FIXED[label] for label in labels if label in FIXED}
    heads = {label: label.rstrip('0123456789') for label in labels if label[-1:].isdigit()}
    same = Counter(heads.values())
    scale = [label for label in heads if label not in taken and same[heads[label]] > 1]
    shades = plt.cm.YlOrRd(np.linspace(0.35, 1, len(scale)))
    taken |= {label: to_hex(shade) for label, shade in zip(scale, shades, strict=True)}
    free = [color for color in OKABE_ITO if color not in taken.values()]
    others = [label for label in labels if label not in taken]
    return taken | {label: free[position % len(free)] for position, label in enumerate(others)}


def dashes_of(colors: dict[str, str]) -> dict[str, str]:
    """Return a line style for each label: those of one colour have different ones."""
    seen, dashes = Counter(), {}
    for label, color in colors.items():
        dashes[label] = DASHES[seen[color] % len(DASHES)]
        seen[color] += 1
    return dashes


def add_legend(axis, labels) -> None:
    """Name the lines of an axis: within it, or below if they are many or their names long."""
    if len(labels) <= 7 and max(map(len, labels)) < 30:
        axis.legend(frameon=False)
        return
    figure = axis.figure
    columns = 2 if max(map(len, labels)) < 40 else 1
    # Constrained layout makes room for it, but at the cost of the axis.
    figure.set_figheight(figure.get_figheight() + 0.18 * -(-len(labels) // columns))
    figure.legend(
        loc='outside lower left', ncols=columns, frameon=False, fontsize=8, handlelength=3.5
    )


def plain(text: str) -> str:
    """Return text as Matplotlib shows it sign by sign: a dollar begins no formula."""
    text = printable(text.encode(errors='replace').decode()).replace('$', r'\$')
    # A label that is empty or begins with an underscore would be left out of legends.
    return f' {text}' if text.startswith('_') or not text else text


def check_picture(out: Path) -> Path:
    """Return the picture to write, a PNG if out has no ending; raise UserError if it cannot be.

    It is called before any work. A name that ends in .pdf or .svg gives vectors.
    """
    check_writable(out, '--out')
    out = out if out.suffix else out.with_suffix('.png')
    check_writable(out, '--out')
    if out.suffix[1:].lower() not in FORMATS:
        raise UserError(
            f'--out {out} cannot be written: {out.suffix} is no format of pictures; '
            f'use {", ".join(FORMATS)}'
        )
    return out


def picture_of(figure, name: str, kind: str, dpi: int = 150) -> bytes:
    """Return figure as a picture of a kind of FORMATS and close it.

    Raises UserError, which says name, if that fails.
    """
    picture = io.BytesIO()
    try:
        figure.savefig(picture, format=kind, dpi=dpi)
    except (OSError, ValueError) as error:  # ValueError: too many pixels for any picture
        raise UserError(f'{name} cannot be written ({error})') from error
    finally:
        plt.close(figure)
    return picture.getvalue()


def save_figure(figure, out: Path) -> None:
    """Write figure to out, a path of check_picture, and close it; raise UserError if that fails."""
    picture = picture_of(figure, str(out), out.suffix[1:].lower())
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{out} cannot be written ({error})') from error
    write_atomic(out, picture)
    print(out)
