"""What gradient matching uses where nothing is typed: loops by images per class, rates, quantile.

Each takes the other flags as a dict; its docstring is what --help says of it.
"""

from utils import UserError

# Images per class: (outer loop, inner loop), as published.
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def _loops(flags: dict) -> tuple[int, int]:
    if flags['ipc'] not in LOOPS:
        raise UserError(
            f'ipc {flags["ipc"]} has no preset loops; pass --outer_loop and --inner_loop, '
            f'or use one of {", ".join(map(str, LOOPS))}'
        )
    return LOOPS[flags['ipc']]


def preset_outer_loop(flags: dict) -> int:
    """as many as images per class, where that is 1, 10, 20, 30, 40 or 50"""
    return _loops(flags)[0]


def preset_inner_loop(flags: dict) -> int:
    """by images per class: 1 (1), 50 (10), 25 (20), 20 (30), 15 (40), 10 (50)"""
    return _loops(flags)[1]


def usual_lr_img(flags: dict) -> float:
    """0.1, with MLP 0.01"""
    return 0.01 if flags['model'] == 'MLP' else 0.1


def usual_quantile(flags: dict) -> float | None:
    """0.9975 with --reduce mask"""
    return 0.9975 if flags['reduce'] == 'mask' else None
