"""Evaluate synthetic sets, ours or another project's of the same format, or real images.

    python main_eval.py --synset results/<run>/res_DC_CIFAR10_ConvNet_1ipc.pt --eval_mode M
    python main_eval.py --synset results/*/res_*.pt --eval_mode M --csv networks.csv
    python main_eval.py --synset random --dataset CIFAR10 --ipc 1    # published: 14.4 ± 2.0 %
    python main_eval.py --synset full --dataset CIFAR10 --num_eval 3 # all images, 30 epochs each

A file holds `data` = [[images (N, C, H, W) normalised, labels (N,)], …]. Other layouts, archives
and folders of pictures are read as well: docs/use_a_set.md. --protocol says how to evaluate.
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path
from typing import NamedTuple

import torch

from dataset.augment import DSA
from dataset.data import Data, RealImages
from dataset.parts import refuse
from evaluation.evaluate import evaluate_sets
from evaluation.protocol import (
    IDC_BATCH,
    batch_of,
    check_pool,
    eval_pool,
    protocol_of,
    strategy_of,
)
from evaluation.real import EPOCHS
from evaluation.sets import (
    RECOGNISED,
    Sets,
    assumed_protocol,
    description,
    read_sets,
)
from evaluation.sources import Read, grouped, read_file
from experiment.arguments import Arguments, command, parse, run_name
from experiment.data import load_data
from experiment.flags import EVERY_RUN, FLAGS
from experiment.parser import Parser
from experiment.result import REAL
from experiment.values import place, word
from methods import METHODS
from methods.parameterisation import Tiles
from processes import ranks
from report.cross_architecture import NetworksTable
from storage.files import check_writable
from utils import Rng, UserError, aligned, plural, script


def random_sets(data: Data, args: Arguments) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw num_exp sets of ipc real images per class: the baseline of every table."""
    rngs = (Rng(data.device, args.seed, exp, 'random') for exp in range(args.num_exp))
    return [METHODS['random'](data, None, ipc=args.ipc, factor=1, rng=rng).synset for rng in rngs]


class Prepared(NamedTuple):
    """Sets to evaluate, the arguments of their run, what tiles are decoded from, and a line.

    The line of the table of foreign files says what was recognised; () for our own.
    """

    pairs: list
    args: Arguments
    stored: list = []  # noqa: RUF012 (never changed)
    line: tuple[str, ...] = ()


def stored_sets(synset: str, data: Data, args: Arguments, file: Read) -> Prepared:
    """Take the sets of a file, and decide from it how they are evaluated."""
    path = Path(synset)
    sets = read_sets(path, data, args.num_exp, file.result)
    if args.factor > 1:
        decode(sets, data, args.factor)
    made_by = sets.made_by
    if sets.factor < (made_by.get('factor') or 1):
        sets.notes.append(f'made with factor {made_by["factor"]}: add --factor for packed tiles')
    # As the set was made, unless --protocol says otherwise; else as its method is published.
    name = args.protocol or made_by.get('protocol')
    why = '--protocol' if args.protocol else 'as it was made'
    if not name and 'dsa_strategy' not in made_by:
        name, why = assumed_protocol(path, made_by)
    made = {'dsa_strategy': made_by.get('dsa_strategy'), 'dataset': args.dataset, 'protocol': name}
    protocol = protocol_of(made)
    for note in [*sets.notes, *protocol_notes(made_by, protocol, args)]:
        print(f'{path}: {note}')
    args = args.replaced(
        ipc=max(1, len(sets.pairs[0][0]) // (data.num_classes * sets.factor**2)),
        factor=sets.factor,
        protocol=protocol,
        dsa_strategy=strategy_of(made),
        run_name=run_name(
            f'eval_{path.stem}_{file.digest[:8]}', vars(args), args.changed, ipc=False
        ),
        num_exp=len(sets.pairs),
        made_by=made_by,
        synset=synset,  # as typed: ./full is a file
    )
    line = () if 'data_hash' in made_by else description(sets, protocol, why)
    return Prepared(sets.pairs, args, sets.stored, line)


def protocol_notes(made_by: dict, protocol: str, args: Arguments) -> list[str]:
    """Return what to know if nobody typed a protocol that is not the one of the method."""
    method = METHODS.get(made_by.get('method'))
    own = protocol_of(made_by | {'protocol': getattr(method, 'DEFAULTS', {}).get('protocol')})
    known = made_by.get('protocol') or 'dsa_strategy' in made_by  # else the method's was assumed
    if args.protocol or not method or not known or protocol == own:
        return []
    return [f'evaluated by protocol {protocol}, as it was made; that of its method is {own}']


def decode(sets: Sets, data: Data, factor: int) -> None:
    """Cut the images of a file into factor x factor tiles each, as --factor says."""
    if sets.factor > 1:
        raise UserError(f'--factor {factor}: {sets.path} holds its images decoded already')
    tiles = Tiles(factor, data.shape)
    sets.factor, sets.stored = factor, sets.pairs
    sets.pairs = [(tiles.decode(images), tiles.labels(labels)) for images, labels in sets.pairs]


def prepared(synset: str, data: Data, args: Arguments, file: Read | None = None) -> Prepared:
    """Return the sets of a file, or of real images, and how they are evaluated."""
    if synset not in REAL:
        return stored_sets(synset, data, args, file or read_file(synset))
    args = args.replaced(
        protocol=args.protocol or 'dc', dsa_strategy=strategy_of(vars(args)), synset=synset
    )
    if synset == 'full':
        return all_images(data, args)
    args = args.replaced(run_name=run_name('random', vars(args), args.changed))
    return Prepared(random_sets(data, args), args)


def all_prepared(groups: list[Arguments], typed: set[str]) -> list[tuple[Prepared, Data]]:
    """Return what is to be evaluated, and on which data; groups: the arguments for each data set.

    Raises UserError with the mistakes of all files together.
    """
    everything, faults = [], []
    for args in groups:
        data = load_data(args)
        for synset, file in args.synset.items():
            try:
                one = prepared(synset, data, args.replaced(csv=None), file)
                check_evaluation(one.pairs, one.args, data, typed)
                everything.append((one, data))
            except UserError as error:
                faults.append(error)
    if len(faults) == 1:
        raise faults[0]
    refuse('--synset', list(map(str, faults)))
    return everything


def all_images(data: Data, args: Arguments) -> Prepared:
    """Return all training images as one set; networks see it for EPOCHS epochs if none is typed."""
    epochs = args.epoch_eval_train or EPOCHS
    changed = args.changed | {'epoch_eval_train': epochs}  # the name of the run says it
    args = args.replaced(
        epoch_eval_train=epochs,
        ipc=max(1, len(data.labels_train) // data.num_classes),
        num_exp=1,
        run_name=run_name('full', vars(args), changed, ipc=False),
        made_by={},  # as of every evaluation that makes no set
    )
    return Prepared([(RealImages(data), data.labels_train)], args)


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__, (*EVERY_RUN, 'factor'))
    parser.add_argument(
        '--synset', required=True, nargs='+', type=word, metavar='FILE',
        help=f'files; or the word random; or full: all real images, for {EPOCHS} epochs unless '
        '--epoch_eval_train is typed',
    )  # fmt: skip
    parser.add_argument(
        '--csv', type=place, metavar='FILE', help='write the table of sets by networks to it'
    )
    return parser


def check_flags(args: Arguments, typed: set[str]) -> None:
    """Raise UserError for a typed flag that does nothing, or a table that cannot be written."""
    if 'ipc' in typed and 'random' not in args.synset:
        raise UserError(
            f'--ipc {args.ipc} does nothing with files, which hold their images, or with full: '
            'leave it out, or evaluate --synset random'
        )
    if 'factor' in typed and REAL.keys() & set(args.synset):
        raise UserError(
            f'--factor {args.factor} is for files of packed tiles; '
            'for random tiles use main.py --method random'
        )
    if args.csv:
        check_writable(args.csv, '--csv', '.csv')
        if not args.csv.parent.is_dir():
            raise UserError(f'--csv {args.csv}: no such folder to write a file in')


def check_evaluation(sets: list, args: Arguments, data: Data, typed: set[str]) -> None:
    """Raise UserError if these sets cannot be evaluated as the flags say."""
    wanted = 'num_exp' in typed and args.changed.get('num_exp', FLAGS['num_exp'].default)
    if wanted and len(sets) < wanted:
        raise UserError(
            f'--num_exp {wanted} is more than {args.synset} holds ({plural(len(sets), "set")}); '
            'use a smaller one, or leave it out'
        )
    if 'batch_train' in typed and args.protocol == 'idc':
        raise UserError(
            f'--batch_train {args.batch_train} does nothing with protocol idc, whose batches are '
            f'of {IDC_BATCH} images; leave it out, or type another --protocol'
        )
    pool = eval_pool(args.eval_mode, args.model)
    for num in {len(labels) for _, labels in sets}:
        check_pool(pool, data, num, batch_of(vars(args)))
    DSA(args.dsa_strategy, data.shape, None)  # a file of another project may name any


@script
def main(argv=None):
    """Evaluate the sets, and print and write their table."""
    parser = make_parser()
    typed = parser.typed(argv)
    args = parse(parser, argv)
    check_flags(args, typed)
    groups = [
        parse(parser, [*argv, *words]).replaced(command=command(argv), synset=synsets)
        for words, synsets in grouped(args.synset, typed).items()
    ]
    everything = all_prepared(groups, typed)
    foreign = [one.line for one, _ in everything if one.line]
    if foreign:
        print(aligned([RECOGNISED, *foreign]))
    results = [evaluate_sets(one.pairs, one.args, one.stored, data) for one, data in everything]
    table = NetworksTable(results)
    if len(results) > 1:
        print(f'\n{table.text()}')
    if args.csv and ranks.leads():
        table.write_csv(args.csv)
        print(args.csv)


if __name__ == '__main__':
    main()
