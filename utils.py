"""What every script shares: its arguments, and how a user's mistake ends.

Arguments in three steps, so that a typed flag always wins: `parse` reads the flags, `derive` fills every flag
left at None from the others (loops from ipc, learning rate from method and network, …), and the result is
frozen, printed and stored.
"""

import argparse
import functools
import sys
from pathlib import Path

import torch

from augment import dsa_strategy
from data import DATASETS
from errors import UserError
from networks import NETWORKS

# Images per class: (outer loop, inner loop).
LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
PRECISIONS = ('fp32', 'tf32', 'bf16')
EVAL_MODES = ('S', 'SS', 'M', 'B', 'W', 'D', 'A', 'P', 'N')
# Flags that say where to read, write and compute: they do not make another experiment.
PLACES = ('data_path', 'save_path', 'device', 'synset')


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr and exit code 2."""

    def error(self, message):
        raise UserError(message)


class Arguments(argparse.Namespace):
    """Parsed and derived arguments; they cannot be changed."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __setattr__(self, name, value):
        raise AttributeError(f'arguments are frozen after parsing: {name}')


def _number(kind, low, strict=False):
    """Return an argparse type: a finite number of this kind, at least (strict: above) low."""

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value < float('inf') or (strict and value == low):
            rule = f'{"above" if strict else "at least"} {low}'
            raise argparse.ArgumentTypeError(
                f'{text!r} must be a{"n integer" if kind is int else " number"} {rule}'
            )
        return value

    return convert


positive, natural, rate = _number(int, 1), _number(int, 0), _number(float, 0, strict=True)


def base_parser(doc: str) -> Parser:
    """Return a parser with the groups data, network, evaluation and run; doc is the script's docstring."""
    parser = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    group = parser.add_argument_group('data')
    group.add_argument(
        '--dataset', default='CIFAR10', help=f'{", ".join(DATASETS)}; or the path of an .npz or a folder'
    )
    group.add_argument('--data_path', default='data', help='folder of the data sets (default: %(default)s)')
    group.add_argument('--im_size', type=positive, metavar='N', help='resize the images to N x N pixels')
    group.add_argument('--ipc', type=positive, default=1, help='images per class (default: %(default)s)')

    group = parser.add_argument_group('network')
    group.add_argument(
        '--model', default='ConvNet', choices=NETWORKS, metavar='NAME', help=', '.join(NETWORKS)
    )
    group.add_argument(
        '--lr_net', type=rate, default=0.01, help='learning rate of the networks (default: %(default)s)'
    )
    group.add_argument(
        '--batch_train',
        type=positive,
        default=256,
        help='batch size to train networks (default: %(default)s)',
    )

    group = parser.add_argument_group('evaluation')
    group.add_argument(
        '--eval_mode',
        default='S',
        choices=EVAL_MODES,
        help='S the same network (batch norm becomes instance norm), SS exactly the same, M architectures, '
        'B the same with batch norm, W width, D depth, A activation, P pooling, N norm',
    )
    group.add_argument('--num_exp', type=positive, default=5, help='synthetic sets (default: %(default)s)')
    group.add_argument(
        '--num_eval', type=positive, default=20, help='networks to judge a set (default: %(default)s)'
    )
    group.add_argument(
        '--epoch_eval_train', type=positive, help='epochs to train them (default: 300; augmented: 1000)'
    )

    group = parser.add_argument_group('run')
    group.add_argument('--save_path', default='results', help='folder of the runs (default: %(default)s)')
    group.add_argument(
        '--seed', type=natural, default=0, help='decides every random draw (default: %(default)s)'
    )
    group.add_argument('--device', help='cpu, cuda, cuda:1 … (default: cuda where there is one)')
    group.add_argument(
        '--precision',
        choices=PRECISIONS,
        help='fp32; tf32: faster matrix units on GPUs; bf16: real-image '
        'gradients and training in bfloat16 (default: tf32 on cuda, else fp32)',
    )
    return parser


def add_condensation(parser: Parser, methods: dict, distances: dict) -> None:
    """Add the group condensation; methods and distances are the tables whose keys may be typed."""
    group = parser.add_argument_group('condensation')
    group.add_argument(
        '--method', default='DC', choices=methods, help=f'{", ".join(methods)} (default: %(default)s)'
    )
    group.add_argument(
        '--Iteration', type=natural, default=1000, help='outer iterations (default: %(default)s)'
    )
    group.add_argument(
        '--eval_every',
        type=natural,
        default=500,
        help='judge the set at each multiple of this; 0: only at the end (default: %(default)s)',
    )
    group.add_argument('--outer_loop', type=positive, help='image updates an iteration (default: by ipc)')
    group.add_argument(
        '--inner_loop', type=natural, help='network epochs after each of them (default: by ipc)'
    )
    group.add_argument('--lr_img', type=rate, help='learning rate of the images (default: 0.1; MLP: 0.01)')
    group.add_argument(
        '--batch_real', type=positive, default=256, help='real images a class and step (default: %(default)s)'
    )
    group.add_argument(
        '--init', choices=('noise', 'real'), help='start of the images (default: noise; DSA: real)'
    )
    group.add_argument(
        '--dsa_strategy', help='operations joined by "_", or None (default: None; DSA: by data set)'
    )
    group.add_argument(
        '--dis_metric',
        default='ours',
        choices=distances,
        help=f'distance of gradients: {", ".join(distances)} (default: %(default)s)',
    )


def _derived(values, defaults):
    """Return values with every None filled in that the others decide; defaults are those of the method."""
    values = {key: defaults.get(key) if value is None else value for key, value in values.items()}
    outer, inner = LOOPS.get(values['ipc'], (None, None))
    derived = {
        'outer_loop': outer,
        'inner_loop': inner,
        'lr_img': 0.01 if values['model'] == 'MLP' else 0.1,
        'init': 'noise',
        'dsa_strategy': 'None',
        'device': 'cuda' if torch.cuda.is_available() else 'cpu',
    }
    values |= {key: value for key, value in derived.items() if key in values and values[key] is None}
    if values.get('dsa_strategy') in ('none', ''):
        values['dsa_strategy'] = 'None'
    if values.get('dsa_strategy') == 'auto':
        values['dsa_strategy'] = dsa_strategy(values['dataset'])
    if values['precision'] is None:
        values['precision'] = 'tf32' if values['device'].startswith('cuda') else 'fp32'
    return values


def parse(parser: Parser, argv: list[str] | None, methods: dict | None = None) -> Arguments:
    """Parse argv, derive what was not typed from the method's DEFAULTS and the other flags, check, freeze.

    Beside the flags the result has `command` (the words typed) and `run_name`, which holds every flag that
    makes this another experiment. Raises UserError for values that cannot work.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    typed = vars(parser.parse_args(argv))
    defaults = methods[typed['method']].DEFAULTS if methods else {}
    values = _derived(typed, defaults)
    if 'outer_loop' in values and None in (values['outer_loop'], values['inner_loop']):
        raise UserError(
            f'ipc {values["ipc"]} has no preset loops; pass --outer_loop and --inner_loop, or use one of '
            f'{", ".join(map(str, LOOPS))}'
        )
    if values.get('method') == 'DC' and values['dsa_strategy'] != 'None':
        raise UserError(
            f'--method DC has no augmentation, so --dsa_strategy {values["dsa_strategy"]} would do nothing; '
            'use --method DSA'
        )
    return Arguments(
        **values, command=[Path(sys.argv[0]).name, *argv], run_name=_run_name(parser, values, defaults)
    )


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
    ]
    extra = [
        f'{key}={values[key]}' for key in sorted(values) if values[key] != plain[key] and key not in PLACES
    ]
    return '_'.join(stem + [part.replace('/', '-') for part in extra])


def script(main):
    """Wrap main(argv=None): a user's mistake ends in one line on stderr and exit code 2, Ctrl-C in 130."""

    @functools.wraps(main)
    def wrapped(argv=None):
        try:
            return main(argv)
        except UserError as error:
            print('error:', *str(error).split(), file=sys.stderr)
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped
