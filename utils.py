"""What every script shares: its arguments, and how a user's mistake ends.

Arguments in three steps, so that a typed flag always wins: `parse` reads the flags, `derive` fills every flag
left at None from the others (loops from ipc, learning rate from method and network, …), and the result is
frozen, printed and stored.
"""

import argparse
import functools
import inspect
import sys
import warnings
from pathlib import Path

import torch

from augment import dsa_strategy
from device import fast_precision
from errors import UserError
from flags import Parser

# Images per class: (outer loop, inner loop).
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
# Flags that say where to read, write and compute: they do not make another experiment.
PLACES = ('data_path', 'save_path', 'cluster_path', 'device', 'synset', 'csv', 'tensorboard')

NO_MEMORY = 'out of memory', 'allocate memory', 'enough memory'  # what torch says of devices and hosts


class Arguments(argparse.Namespace):
    """Parsed and derived arguments; they cannot be changed."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __setattr__(self, name, value):
        raise AttributeError(f'arguments are frozen after parsing: {name}')


def _derived(values, defaults):
    """Return values with every None filled in that the others decide; defaults are those of the method."""
    given = values
    values = {key: defaults.get(key) if value is None else value for key, value in given.items()}
    values |= {key: value(given) for key, value in values.items() if callable(value)}
    outer, inner = LOOPS.get(values['ipc'], (None, None))
    derived = {
        'outer_loop': outer,
        'inner_loop': inner,
        'lr_img': 0.01 if values['model'] == 'MLP' else 0.1,
        'init': 'noise',
        'batch_real': 256,
        'Iteration': 1000,
        'eval_every': 500,
        'mask_quantile': 0.9975 if values.get('reduce') == 'mask' else None,
        'dsa_strategy': 'None',
        'device': 'cuda' if torch.cuda.is_available() else 'cpu',
    }
    values |= {key: value for key, value in derived.items() if key in values and values[key] is None}
    if values.get('dsa_strategy') in ('none', ''):
        values['dsa_strategy'] = 'None'
    if values.get('dsa_strategy') == 'auto':
        values['dsa_strategy'] = dsa_strategy(values['dataset'])
    if values['precision'] is None:
        values['precision'] = fast_precision(values['device'])
    return values


def parse(
    parser: Parser, argv: list[str] | None, methods: dict | None = None, names: dict | None = None
) -> Arguments:
    """Parse argv, derive what was not typed from the method's DEFAULTS and the other flags, check, freeze.

    methods: the table of methods; names: what the typed method is called in it, if not the same.
    Beside the flags the result has `command` (the words typed) and `run_name`, which holds every flag that
    makes this another experiment. Raises UserError for values that cannot work.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    typed = vars(parser.parse_args(argv))
    if names:
        typed['method'] = names[typed['method']]
    defaults = methods[typed['method']].DEFAULTS if methods else {}
    values = _derived(typed, defaults)
    if 'outer_loop' in values and None in (values['outer_loop'], values['inner_loop']):
        raise UserError(
            f'ipc {values["ipc"]} has no preset loops; pass --outer_loop and --inner_loop, or use one of '
            f'{", ".join(map(str, LOOPS))}'
        )
    if defaults.get('Iteration') == 0 != values['Iteration']:
        raise UserError(
            f'--method {values["method"]} chooses images and learns nothing; leave --Iteration out'
        )
    if defaults.get('dsa_strategy') == 'None' and values['dsa_strategy'] != 'None':
        raise UserError(
            f'--method {values["method"]} has no augmentation, so --dsa_strategy {values["dsa_strategy"]} '
            'does not belong to it; use --method DSA or BS-DSA'
        )
    return Arguments(
        **values, command=[Path(sys.argv[0]).name, *argv], run_name=_run_name(parser, values, defaults)
    )


def flags_of(function, args: Arguments) -> dict:
    """Return the arguments of args that function takes as keywords of the same names."""
    names = inspect.signature(function).parameters.keys() & vars(args).keys()
    return {name: getattr(args, name) for name in names}


def _run_name(parser, values, defaults):
    """Name the run after its identity and every flag that differs from what this alone would derive."""
    identity = {key: values[key] for key in ('method', 'dataset', 'model', 'ipc', 'seed') if key in values}
    plain = {key: parser.get_default(key) for key in values} | identity | {'device': values['device']}
    plain = _derived(plain, defaults)
    stem = [
        *([identity['method']] if 'method' in identity else []),
        Path(identity['dataset']).stem,
        identity['model'],
        f'{identity["ipc"]}ipc',
        f'seed{identity["seed"]}',
        values['precision'],  # derived from the machine, so always named
    ]
    named = (*PLACES, 'precision')
    extra = [
        f'{key}={values[key]}' for key in sorted(values) if values[key] != plain[key] and key not in named
    ]
    return '_'.join(stem + [part.replace('/', '-') for part in extra])


def silence() -> None:
    """Drop the warning that torch's own module of forward derivatives gives of itself when first used."""
    warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)


def script(main):
    """Wrap main(argv=None): a user's mistake ends in one line on stderr and exit code 2, Ctrl-C in 130."""

    @functools.wraps(main)
    def wrapped(argv=None):
        silence()
        try:
            return main(argv)
        except UserError as error:
            print('error:', *str(error).split(), file=sys.stderr)
            raise SystemExit(2) from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(words in str(error) for words in NO_MEMORY):
                raise
            reason = str(error).partition('\n')[0]
            print(f'error: {reason}; what was saved is kept: use a smaller --ipc', file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped
