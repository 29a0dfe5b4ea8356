"""What gradient matching uses where nothing is typed: loops by images per class, rates, quantile.

Each takes the other flags as a dict; its docstring is what --help says of it.
"""

from utils import UserError

# Images per class: (outer loop, inner loop), as published.
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def loops_between(ipc: int) -> tuple[int, int]:
    """Return (outer loop, inner loop) of any number of images per class, from the presets around.

    Outer loops are as many as images, at most 50. Inner loops lie on the line between the two
    presets. So the epochs of a network, (outer - 1) x inner, grow from 0 at ipc 1 to 450 at 10.
    """
    ipc = min(ipc, max(LOOPS))
    below, above = max(n for n in LOOPS if n <= ipc), min(n for n in LOOPS if n >= ipc)
    share = (ipc - below) / max(1, above - below)
    inner = LOOPS[below][1] + share * (LOOPS[above][1] - LOOPS[below][1])
    return ipc, int(inner + 0.5)


def _loops(flags: dict) -> tuple[int, int]:
    if flags['ipc'] in LOOPS:
        return LOOPS[flags['ipc']]
    auto = dict(zip(('outer_loop', 'inner_loop'), loops_between(flags['ipc']), strict=True))
    missing = [name for name in auto if flags[name] is DEFAULTS[name]]
    # Some settings have no inner loop.
    if flags.get('schedule') == 'adaptive' or flags['outer_loop'] == 1:
        missing = [name for name in missing if name != 'inner_loop']
    if not missing:
        return loops_between(flags['ipc'])
    raise UserError(
        f'ipc {flags["ipc"]} has no preset loops; '
        f'pass {" and ".join(f"--{name} auto (that is {auto[name]})" for name in missing)} or '
        f'{"numbers" if missing[1:] else "a number"}, or use ipc {", ".join(map(str, LOOPS))}'
    )


def preset_outer_loop(flags: dict) -> int:
    """as many as images per class, where that is 1, 10, 20, 30, 40 or 50"""
    return _loops(flags)[0]


def preset_inner_loop(flags: dict) -> int:
    """by images per class: 1 (1), 50 (10), 25 (20), 20 (30), 15 (40), 10 (50)"""
    return _loops(flags)[1]


def auto_outer_loop(flags: dict) -> int:
    """as many as images per class, at most 50"""
    return loops_between(flags['ipc'])[0]


def auto_inner_loop(flags: dict) -> int:
    """on the line between the presets for fewer and for more images per class"""
    return loops_between(flags['ipc'])[1]


def usual_lr_img(flags: dict) -> float:
    """0.1, with MLP 0.01"""
    return 0.01 if flags['model'] == 'MLP' else 0.1


def usual_init(flags: dict) -> str:
    """mix, without tiles real"""
    return 'mix' if flags['factor'] > 1 else 'real'


def usual_quantile(flags: dict) -> float | None:
    """0.9975 with --reduce mask"""
    return 0.9975 if flags['reduce'] == 'mask' else None


DEFAULTS = {
    'outer_loop': preset_outer_loop,
    'inner_loop': preset_inner_loop,
    'lr_img': usual_lr_img,
    'mask_quantile': usual_quantile,
}
AUTO_LOOPS = {'outer_loop': auto_outer_loop, 'inner_loop': auto_inner_loop}
