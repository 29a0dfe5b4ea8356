"""Judge synthetic sets, ours or another project's of the same format, or random real images.

    python main_eval.py --synset results/<run>/res_DC_CIFAR10_ConvNet_1ipc.pt --eval_mode M
    python main_eval.py --synset results/*/res_*_CIFAR10_*_1ipc.pt --eval_mode M --csv networks.csv
    python main_eval.py --synset random --dataset CIFAR10 --ipc 1    # published: 14.4 ± 2.0 %

A file holds `data` = [[images (N, C, H, W) normalised, labels (N,)], …]. --protocol says how.
"""

from pathlib import Path

import torch

from augment import dsa_strategy
from compiling import settle_compile
from condense import is_finished, judge, next_set, print_plan, report_finished, result_of, save_result
from data import Data, load
from device import Rng, set_up_device
from errors import UserError
from evaluation.judge import check_pool, eval_pool
from flags import Parser, base_parser
from methods import METHODS
from report.networks import NetworksTable
from runfolder import Run
from storage import file_hash, load_result
from utils import Arguments, parse, script


def random_sets(data: Data, args: Arguments) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Draw num_exp sets of ipc real images per class: the baseline of every table."""
    rngs = (Rng(data.device, args.seed, exp, 'random') for exp in range(args.num_exp))
    return [METHODS['random'](data, None, ipc=args.ipc, rng=rng).synset for rng in rngs]


def check_sets(path: Path, sets: list, data: Data) -> None:
    """Raise UserError unless every set fits the data."""
    for images, labels in sets:
        if (
            tuple(images.shape[1:]) != data.shape
            or int(labels.max()) >= data.num_classes
            or int(labels.min()) < 0
        ):
            raise UserError(
                f'{path} holds images {tuple(images.shape[1:])} with labels {int(labels.min())} … '
                f'{int(labels.max())}, but {data.name} has {data.shape} and {data.num_classes} classes; pass '
                'the --dataset (and --im_size) that it was condensed from'
            )


def stored_sets(path: Path, data: Data, args: Arguments) -> tuple[list, Arguments]:
    """Load the sets of a result file; return them, and args with what the file decides (ipc, protocol,
    name)."""
    result = load_result(path)
    sets = result['data'][: args.num_exp]
    check_sets(path, sets, data)
    made_by = result.get('args', {})
    condensed_from = made_by.get('dataset', args.dataset)
    if Path(condensed_from).stem != Path(args.dataset).stem:
        raise UserError(f'{path} was condensed from {condensed_from}; pass --dataset {condensed_from}')
    digest = file_hash(path)[:8]
    own = 'dsa' if made_by.get('dsa_strategy', 'None') != 'None' else 'dc'
    values = vars(args) | {'ipc': len(sets[0][1]) // data.num_classes, 'protocol': args.protocol or own}
    name = args.run_name.replace(f'_{args.ipc}ipc', '', 1)
    values |= {'run_name': f'eval_{path.stem}_{digest}_{name}', 'num_exp': len(sets), 'made_by': made_by}
    sets = [(images.float().to(data.device), labels.long().to(data.device)) for images, labels in sets]
    return sets, Arguments(**values)


def add_arguments(parser: Parser) -> None:
    """Add the flags that are main_eval's own."""
    parser.add_argument(
        '--synset', required=True, nargs='+', metavar='FILE', help='result files; or the word random'
    )
    parser.add_argument('--csv', type=Path, metavar='FILE', help='write the table of sets by networks to it')
    parser.add_argument(
        '--protocol', choices=('dc', 'dsa'), help='dc plain, dsa augmented (default: as made)'
    )


@script
def main(argv=None):
    parser = base_parser(__doc__)
    add_arguments(parser)
    args = parse(parser, argv)
    device = set_up_device(args.device, args.precision)
    data = load(args.dataset, args.data_path, args.im_size, device)
    if args.csv and not (args.csv.name and args.csv.parent.is_dir()):
        raise UserError(f'--csv {args.csv}: no such folder to write a file in')
    synsets = [synset for synset in args.synset if not is_judgement(synset)]
    prepared = [sets_of(synset, data, args) for synset in synsets]  # mistakes show before any work
    results = [judge_all(*pair, data) for pair in prepared]
    table = NetworksTable(results)
    if len(results) > 1:
        print(f'\n{table.text()}')
    if args.csv:
        table.write_csv(args.csv)
        print(args.csv)


def is_judgement(synset: str) -> bool:
    """Tell, and say, whether the file is what this script wrote of another one: a copy to be left out."""
    if synset == 'random' or load_result(Path(synset)).get('args', {}).get('made_by') is None:
        return False
    print(f'{synset} is the judgement of another file: left out')
    return True


def sets_of(synset: str, data: Data, args: Arguments) -> tuple[list, Arguments]:
    """Return the sets of a file, or random ones, and args with what decides how they are judged."""
    if synset == 'random':
        protocol = args.protocol or 'dc'
        changes = {'protocol': protocol, 'run_name': f'random_{args.run_name}'}
        sets, args = random_sets(data, args), Arguments(**vars(args) | changes)
    else:
        sets, args = stored_sets(Path(synset), data, args)
    strategy = dsa_strategy(args.dataset) if args.protocol == 'dsa' else 'None'
    values = vars(args) | {'dsa_strategy': strategy, 'synset': synset}
    del values['csv']
    return sets, Arguments(**values)


def judge_all(sets: list, args: Arguments, data: Data) -> Path:
    """Judge every set in a run folder of its own, resumable; return the result file."""
    result_path = result_of(args, Path(args.synset).stem, data)
    if is_finished(result_path, data):
        report_finished(result_path)
        return result_path
    pool = eval_pool(args.eval_mode, args.model)
    check_pool(pool, data, args.ipc, args.batch_train)
    args = settle_compile(args, data, pool)
    with Run(args, data) as run:
        saved = run.resume()
        run.describe(args, data.device)
        print_plan(run, args, data, pool, saved)

        state = saved or {'exp': 0, 'iteration': 0, 'accs': {}, 'accs_all_exps': {}, 'judge_seconds': 0.0}
        while state['exp'] < len(sets):
            judge(run, state, sets[state['exp']], data, pool, args, lambda: run.checkpoint(state))
            run.log({key: state[key] for key in ('exp', 'iteration', 'accs', 'judge_seconds')})
            next_set(state)
            run.checkpoint(state)
        stored = [[part.cpu() for part in pair] for pair in sets]
        save_result(run, result_path, data, stored, state['accs_all_exps'])
        return result_path


if __name__ == '__main__':
    main()
