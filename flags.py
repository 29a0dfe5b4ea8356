"""The flags of every script, in groups: data, network, condensation, clusters, evaluation, run.

A default lives here; None means that utils.parse derives the value from the other flags.
"""

import argparse

from data import DATASETS
from errors import UserError
from networks import NETWORKS

PRECISIONS = ('fp32', 'tf32', 'bf16')
# Flags that only some methods take.
SAMPLING = ('layer_idx', 'num_cluster', 'norm', 'extractor', 'extractor_epochs', 'draw', 'mix')
PARTIAL = (*SAMPLING, 'dis_metric', 'reduce', 'mask_quantile', 'level', 'overfit', 'feature_net')
EVAL_MODES = ('S', 'SS', 'M', 'B', 'W', 'D', 'A', 'P', 'N')


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line on stderr and exit code 2."""

    def error(self, message):
        raise UserError(message)


def _number(kind, low, strict=False, below=float('inf')):
    """Return an argparse type: a number of this kind, at least (strict: above) low, and below `below`."""

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not low <= value < below or (strict and value == low):
            rule = f'{"above" if strict else "at least"} {low}'
            rule += f' and below {below}' if below < float('inf') else ''
            raise argparse.ArgumentTypeError(
                f'{text!r} must be a{"n integer" if kind is int else " number"} {rule}'
            )
        return value

    return convert


positive, natural, rate = _number(int, 1), _number(int, 0), _number(float, 0, strict=True)
share = _number(float, 0, below=1)


def base_parser(doc: str) -> Parser:
    """Return a parser with the groups data, network, evaluation and run; doc is the script's docstring."""
    parser = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    _add_data_and_network(parser)
    _add_evaluation(parser)
    _add_run(parser)
    return parser


def _add_data_and_network(parser):
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


def _add_evaluation(parser):
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


def _add_run(parser):
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
        'gradients and training in bfloat16 (default: tf32 on cuda; bf16 on CPUs that have it, else fp32)',
    )
    group.add_argument('--tensorboard', action='store_true', help='scalars and images for TensorBoard')
    group.add_argument(
        '--compile',
        choices=('auto', 'on', 'off'),
        default='auto',
        help='compile the passes of networks on a CPU, replay CUDA graphs of them on a GPU; auto: on a CPU, '
        'in runs long enough (default: %(default)s)',
    )


def add_condensation(parser: Parser, methods: dict) -> None:
    """Add the group condensation; methods is the table whose keys may be typed."""
    group = parser.add_argument_group('condensation')
    group.add_argument(
        '--method', default='DC', choices=methods, help=f'{", ".join(methods)} (default: %(default)s)'
    )
    group.add_argument(
        '--Iteration', type=natural, help='outer iterations (default: 1000; DM: 20000; coresets: 0)'
    )
    group.add_argument(
        '--eval_every',
        type=natural,
        help='judge the set at each multiple of this; 0: only at the end (default: 500; DM: 2000)',
    )
    group.add_argument('--outer_loop', type=positive, help='image updates an iteration (default: by ipc)')
    group.add_argument(
        '--inner_loop', type=natural, help='network epochs after each of them (default: by ipc)'
    )
    group.add_argument(
        '--lr_img', type=rate, help='learning rate of the images (default: 0.1; MLP: 0.01; DM: 1; DD: 0.01)'
    )
    group.add_argument(
        '--batch_real', type=positive, help='real images a class and step (default: 256; DD: 100)'
    )
    group.add_argument(
        '--init', choices=('noise', 'real'), help='start of the images (default: noise; DSA, DM: real)'
    )
    group.add_argument(
        '--dsa_strategy', help='operations joined by "_", or None (default: None; DSA, DM: by data set)'
    )
    group.add_argument(
        '--feature_net', choices=NETWORKS, metavar='NAME',
        help='coresets by features of this network, trained on all images (default: of the extractor)',
    )  # fmt: skip


def add_matching(parser: Parser, distances: dict, reductions: dict) -> None:
    """Add the group gradient matching; distances and reductions are the tables whose keys may be typed."""
    group = parser.add_argument_group('gradient matching')
    group.add_argument(
        '--dis_metric',
        default='ours',
        choices=distances,
        help=f'distance of gradients: {", ".join(distances)} (default: %(default)s)',
    )
    group.add_argument(
        '--reduce',
        default='none',
        choices=reductions,
        help=f'reduce both gradients first: {", ".join(reductions)} (default: %(default)s)',
    )
    group.add_argument(
        '--mask_quantile', type=share, metavar='Q', help='keep what is larger (default with mask: 0.9975)'
    )
    group.add_argument(
        '--level',
        default='intra',
        choices=('intra', 'inter', 'both'),
        help='match the gradient of each class, of all together, or both (default: %(default)s)',
    )
    group.add_argument(
        '--overfit', type=rate, metavar='R', help='train a network only while loss(synthetic) >= R loss(real)'
    )


def add_clusters(parser: Parser, several: bool = False) -> None:
    """Add the group clusters; several: layers and numbers of clusters may be lists."""
    group = parser.add_argument_group('clusters')
    many = {'nargs': '+'} if several else {}
    layer, number = ([1], [20]) if several else (1, 20)
    group.add_argument(
        '--cluster_path', default='clustering', help='folder of clusters (default: %(default)s)'
    )
    group.add_argument(
        '--layer_idx',
        type=int,
        choices=range(4),
        default=layer,
        help='block of ResNet18 (default: 1)',
        **many,
    )
    group.add_argument(
        '--num_cluster', type=positive, default=number, help='clusters of a class (default: 20)', **many
    )
    group.add_argument(
        '--norm', action=argparse.BooleanOptionalAction, default=True, help='clusters of about equal size'
    )
    group.add_argument(
        '--extractor', help='weights of a ResNet18 with CIFAR stem (default: made when missing)'
    )
    group.add_argument(
        '--extractor_epochs',
        type=positive,
        help='epochs to make it (default: 30; on a CPU 5, small data more)',
    )


def add_sampling(parser: Parser, draws: dict) -> None:
    """Add the group clusters with the flags of the sampler."""
    add_clusters(parser)
    group = parser.add_argument_group('batch sampling')
    group.add_argument(
        '--draw', choices=draws, default='cluster', help=f'{", ".join(draws)} (default: cluster)'
    )
    group.add_argument(
        '--mix', type=natural, nargs='?', const=300, help='uniform batches after this iteration (300)'
    )


def check_typed(args: argparse.Namespace, taken: dict[str, set[str]]) -> None:
    """Raise UserError if a flag was typed that the method has no use for; taken: the flags of each method."""
    own = taken[args.method] | (taken['BS'] if vars(args).get('equal_batch') else set())
    for word in args.command:
        flag = word.split('=')[0].removeprefix('--').removeprefix('no-')
        if word.startswith('--') and flag in PARTIAL and flag not in own:
            takers = ', '.join(method for method in taken if flag in taken[method])
            raise UserError(f'--{flag} does nothing for --method {args.method}; use it with {takers}')
