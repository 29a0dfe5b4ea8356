"""Evaluate synthetic sets, ours or another project's of the same format, or random real images.

    python main_eval.py --synset results/<run>/res_DC_CIFAR10_ConvNet_1ipc.pt --eval_mode M
    python main_eval.py --synset results/*/res_*_CIFAR10_*_1ipc.pt --eval_mode M --csv networks.csv
    python main_eval.py --synset random --dataset CIFAR10 --ipc 1    # published: 14.4 ± 2.0 %

A file holds `data` = [[images (N, C, H, W) normalised, labels (N,)], …]. --protocol says how.
"""

import experiment.start  # noqa: F401 (first: Ctrl-C is one line from here on)

from pathlib import Path

import torch

import ranks
from dataset.augment import DSA
from dataset.data import Data, load_dataset
from engine.device import set_up_device
from evaluation.evaluate import evaluate, print_plan
from evaluation.protocol import check_pool, eval_pool, strategy_of
from experiment.arguments import Arguments, parse, run_name
from experiment.compiling import settle_compile
from experiment.flags import EVERY_RUN, FLAGS, Parser
from experiment.progress import Progress
from experiment.result import is_finished, load_result, report_finished, result_of, save_result
from experiment.run import Run
from experiment.values import place, word
from methods import METHODS
from report.cross_architecture import NetworksTable
from storage.files import check_writable, file_hash
from utils import Rng, UserError, script


def random_sets(data: Data, args: Arguments) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw num_exp sets of ipc real images per class: the baseline of every table."""
    rngs = (Rng(data.device, args.seed, exp, 'random') for exp in range(args.num_exp))
    return [METHODS['random'](data, None, ipc=args.ipc, factor=1, rng=rng).synset for rng in rngs]


def check_sets(path: Path, sets: list, data: Data) -> None:
    """Raise UserError unless every set fits the data."""
    for images, labels in sets:
        shape, low, high = tuple(images.shape[1:]), int(labels.min()), int(labels.max())
        if shape != data.shape or not 0 <= low <= high < data.num_classes:
            raise UserError(
                f'{path} holds images {shape} with labels {low} … {high}, but {data.name} has '
                f'{data.shape} and {data.num_classes} classes; pass the --dataset (and --im_size) '
                'that it was condensed from'
            )


def stored_sets(path: Path, data: Data, args: Arguments) -> tuple[list, Arguments]:
    """Load the sets of a file; return them, and args with what the file decides."""
    result = load_result(path)
    sets = result['data'][: args.num_exp]
    check_sets(path, sets, data)
    made_by = result['args']
    condensed_from = made_by.get('dataset', args.dataset)
    if Path(condensed_from).stem != Path(args.dataset).stem:
        raise UserError(
            f'{path} was condensed from {condensed_from}; pass --dataset {condensed_from}'
        )
    # As the set was made, unless --protocol says otherwise.
    made = {'dsa_strategy': made_by.get('dsa_strategy', 'None'), 'dataset': args.dataset}
    strategy = strategy_of(made | {'protocol': args.protocol or made_by.get('protocol')})
    head = f'eval_{path.stem}_{file_hash(path)[:8]}'
    factor = made_by.get('factor') or 1
    args = args.replaced(
        ipc=len(sets[0][1]) // (data.num_classes * factor**2),
        factor=factor,
        stored=result.get('stored', [])[: args.num_exp],
        protocol='dc' if strategy == 'None' else 'dsa',
        dsa_strategy=strategy,
        run_name=run_name(head, vars(args), args.changed, ipc=False),
        num_exp=len(sets),
        made_by=made_by,
    )
    sets = [
        (images.float().to(data.device), labels.long().to(data.device)) for images, labels in sets
    ]
    return sets, args


def sets_of(synset: str, data: Data, args: Arguments) -> tuple[list, Arguments]:
    """Return the sets of a file, or random ones, and args with how they are evaluated."""
    if synset == 'random':
        name = run_name('random', vars(args), args.changed)
        sets = random_sets(data, args)
        strategy = strategy_of(vars(args))
        args = args.replaced(
            protocol=args.protocol or 'dc', dsa_strategy=strategy, run_name=name, stored=[]
        )
    else:
        sets, args = stored_sets(Path(synset), data, args)
    return sets, args.replaced(synset=synset, csv=None)


def is_evaluation(synset: str) -> bool:
    """Tell, and say, whether this script wrote the file: a copy of another set, to be left out."""
    if synset == 'random' or load_result(Path(synset))['args'].get('made_by') is None:
        return False
    print(f'{synset} is the evaluation of another file: left out')
    return True


def evaluate_sets(sets: list, args: Arguments, data: Data) -> Path:
    """Evaluate every set in a run folder of its own, resumable; return the result file."""
    # What tiles are decoded from goes into the result, not into the arguments.
    stored = args.stored
    args = Arguments(**{name: value for name, value in vars(args).items() if name != 'stored'})
    result_path = result_of(args, Path(args.synset).stem, data)
    if is_finished(result_path, data):
        report_finished(result_path)
        return result_path
    pool = eval_pool(args.eval_mode, args.model)
    args = settle_compile(args, data, pool)
    with Run(args, data) as run:
        progress = run.resume() or Progress()
        run.describe(args, data.device)
        print_plan(run, args, data, pool)
        while progress.exp < len(sets):
            synset = sets[progress.exp]
            evaluate(run, progress, synset, data, pool, args, lambda: run.checkpoint(progress))
            keys = ('exp', 'iteration', 'accs', 'evaluate_seconds')
            run.log({key: getattr(progress, key) for key in keys})
            progress.next_set()
            run.checkpoint(progress)
        progress.stored = [list(pair) for pair in stored]
        progress.sets = [[part.cpu() for part in pair] for pair in sets]
        save_result(run, result_path, data, progress)
        return result_path


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = Parser(__doc__, EVERY_RUN)
    parser.add_argument(
        '--synset', required=True, nargs='+', type=word, metavar='FILE',
        help='files; or the word random',
    )  # fmt: skip
    parser.add_argument(
        '--csv', type=place, metavar='FILE', help='write the table of sets by networks to it'
    )
    return parser


def check_flags(args: Arguments, typed: set[str]) -> None:
    """Raise UserError for a typed flag that does nothing, or a table that cannot be written."""
    if 'ipc' in typed and 'random' not in args.synset:
        raise UserError(
            f'--ipc {args.ipc} does nothing with files, which hold their images: leave it out, '
            'or evaluate --synset random'
        )
    if args.csv:
        check_writable(args.csv, '--csv')
        if not args.csv.parent.is_dir():
            raise UserError(f'--csv {args.csv}: no such folder to write a file in')


def check_evaluation(sets: list, args: Arguments, data: Data, typed: set[str]) -> None:
    """Raise UserError if these sets cannot be evaluated as the flags say."""
    wanted = 'num_exp' in typed and args.changed.get('num_exp', FLAGS['num_exp'].default)
    if wanted and len(sets) < wanted:
        raise UserError(
            f'--num_exp {wanted} is more than {args.synset} holds ({len(sets)} sets); '
            'use a smaller one, or leave it out'
        )
    pool = eval_pool(args.eval_mode, args.model)
    for num in {len(labels) for _, labels in sets}:
        check_pool(pool, data, num, args.batch_train)
    DSA(args.dsa_strategy, data.shape, None)  # a file of another project may name any


@script
def main(argv=None):
    """Evaluate the sets, and print and write their table."""
    parser = make_parser()
    args, typed = parse(parser, argv), parser.typed(argv)
    check_flags(args, typed)
    device = set_up_device(args.device, args.precision)
    data = load_dataset(args.dataset, args.data_path, args.im_size, device)
    synsets = [synset for synset in args.synset if not is_evaluation(synset)]
    prepared = [sets_of(synset, data, args) for synset in synsets]  # mistakes show before any work
    for sets, own in prepared:
        check_evaluation(sets, own, data, typed)
    results = [evaluate_sets(*pair, data) for pair in prepared]
    table = NetworksTable(results)
    if len(results) > 1:
        print(f'\n{table.text()}')
    if args.csv and ranks.leads():
        table.write_csv(args.csv)
        print(args.csv)


if __name__ == '__main__':
    main()
