"""Architecture search on a proxy: does a small set rank networks as all real images do?

    python -m applications.architecture_search --grid small --num_real 10000 --epochs_real 5 \\
        --proxies random herding early results/*/res_DC_CIFAR10_ConvNet_10ipc.pt --jobs 2
    python -m applications.architecture_search --grid all     # 720 networks: a GPU, and hours

Each network learns every proxy, and real images once. A tenth of the training images is held out:
accuracies there rank the networks of a proxy. Those on real images are of the test set. The same
command continues; a finished network is never trained again. What was found: docs/applications.md
"""

import processes.start  # noqa: F401 (first: Ctrl-C is one line from here on)

import multiprocessing
import os
import shlex
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm

from applications.grid import able, grid
from applications.ledger import Ledger
from applications.ranking import Ranking
from applications.sets import (
    add_numbers_and_outputs,
    check_names,
    check_sizes,
    check_taken,
    check_twice,
    checked_outputs,
    file_of,
    made_set,
    protocol_values,
    run_of,
    run_words,
    settings_of,
    study_arguments,
    study_name,
    study_parser,
    title,
)
from applications.training import EARLY, REAL, Task, Trainer, begin, num_kept, parts_of, train
from dataset.data import Data
from engine.trial import last_batch
from evaluation.protocol import batch_of, protocol, protocol_of, strategy_of
from evaluation.real import EPOCHS
from evaluation.sets import read_sets
from experiment.arguments import Arguments
from experiment.data import load_data
from experiment.layouts import content_hash
from experiment.parser import Parser
from experiment.values import word
from methods import METHODS
from utils import UserError, plural, script

PROXIES = 'random', 'herding', EARLY
DEFAULTS = {'ipc': 10, 'num_eval': 1, 'protocol': 'dc'}


def make_parser() -> Parser:
    """Return the parser of this script's flags."""
    parser = study_parser(__doc__, DEFAULTS)
    group = parser.add_argument_group('the study')
    group.add_argument(
        '--grid', nargs='+', type=word, default=['small'], metavar='WORD',
        help='all (720 networks) or small (36), and parts to keep: small D1 D2 (default: small)',
    )  # fmt: skip
    group.add_argument(
        '--proxies', nargs='+', type=word, default=PROXIES, metavar='SET',
        help=f'result files; coresets, which are made; methods whose run is finished; {EARLY}: '
        f'real images, as many passes as ipc images a class get (default: {" ".join(PROXIES)})',
    )  # fmt: skip
    add_numbers_and_outputs(
        group,
        ('epochs_real', f'epochs on real images (default: {EPOCHS})'),
        ('num_real', 'random real images to train on (default: all that are not held out)'),
        ('jobs', 'processes that train networks (default: 1)'),
    )
    return parser


def is_file(proxy: str) -> bool:
    """Tell whether a proxy is the path of a result file."""
    path = proxy.partition(' --')[0]  # a method's flag may name a file
    return path.endswith('.pt') or os.sep in path


def check_flags(args: Arguments) -> Arguments:
    """Return args with what was not typed; raise UserError for flags that cannot work."""
    check_names('--proxies', [name for name in args.proxies if not is_file(name)], (EARLY,))
    for name in filter(is_file, args.proxies):
        if not Path(name).exists():
            raise UserError(
                f'--proxies {name}: no such file; python main.py --method DC --dataset '
                f'{args.dataset} --ipc {args.ipc} makes one'
            )
    out = checked_outputs(args)
    jobs, cores = args.jobs or 1, os.cpu_count() or 1
    if jobs > cores:
        print(f'--jobs {jobs}: {plural(cores, "process")}, as many as this machine has cores')
    return args.replaced(out=out, jobs=min(jobs, cores), proxies=list(args.proxies))


def read_proxies(args: Arguments, data: Data) -> dict[str, tuple]:
    """Return {proxy: (what the ledger calls it, its set)}; coresets that are missing are made.

    Raises UserError for a set of other data, and, with the command that makes it, for one that is
    not there.
    """
    names = [name for name in args.proxies if name != EARLY]
    runs = {
        name: run_of(args, name, args.dataset, args.seed) for name in names if not is_file(name)
    }
    check_taken(args, '--proxies', list(runs.values()))
    check_sizes(args, data, list(runs.values()))
    for name, run in runs.items():
        if hasattr(METHODS[run.method], 'step') and not file_of(run, data).exists():
            words = shlex.join(run_words(args, name, args.dataset, args.seed))
            raise UserError(f'--proxies {name!r} is missing; make it: python main.py {words}')
    # Files first: one of other data is refused before a coreset is made.
    files = {name: read_sets(Path(name), data).pairs[0] for name in names if name not in runs}
    titles = {name: title(name, run) for name, run in runs.items()}
    titles |= {name: f'{Path(name).stem} {content_hash(Path(name))[:8]}' for name in files}
    check_twice('--proxies', titles)
    sets = files | {name: made_set(run, data) for name, run in runs.items()}
    return {name: (titles[name], sets[name]) for name in names}


def passes_of(args: Arguments, data: Data) -> int:
    """Return how many images a network sees that learns ipc images a class by the protocol."""
    values = protocol_values(args, data)
    settings = strategy_of(values), args.epoch_eval_train, protocol_of(values)
    epochs = protocol('', data.name, *settings)['epochs']
    epochs += args.protocol != 'idc'  # the papers' schedule has one more
    return epochs * args.ipc * data.num_classes


def all_tasks(args: Arguments, data: Data, names: list[str], proxies: dict) -> dict:
    """Return {proxy, REAL included: tasks of each network}."""
    real, passes = args.epochs_real or EPOCHS, passes_of(args, data)
    kinds = {REAL: (f'{REAL} epochs={real}', real)}
    for name in args.proxies:
        kinds[name] = (f'{EARLY} passes={passes}', passes)
        if name != EARLY:
            kinds[name] = proxies[name][0], args.epoch_eval_train
    return {
        kind: [
            [
                Task(f'{head}, {name}, network {number}', name, number, kind, budget)
                for number in range(args.num_eval)
            ]
            for name in names
        ]
        for kind, (head, budget) in kinds.items()
    }


def train_missing(
    args: Arguments, data: Data, ledger: Ledger, tasks: list[Task], sets: dict
) -> None:
    """Train what the ledger lacks, by --jobs processes, and write it down as it comes."""
    left = [task for task in tasks if task.key not in ledger]
    with tqdm(total=len(left), desc='networks', dynamic_ncols=True) as bar:

        def write_down(key, accuracy, seconds):
            ledger.add(key, [accuracy], seconds)
            bar.update()

        if args.jobs > 1 and len(left) > 1:
            train_in_processes(args, left, sets, write_down)
        elif left:
            for result in map(Trainer(args, sets, data), left):
                write_down(*result)


def train_in_processes(args: Arguments, tasks: list[Task], sets: dict, write_down) -> None:
    """Train by --jobs processes; write_down(key, accuracy, seconds) is called as each task ends."""
    # Not forked from this one: its threads would be missing there, and its locks held.
    context = multiprocessing.get_context('forkserver' if hasattr(os, 'fork') else 'spawn')
    threads = max(1, torch.get_num_threads() // args.jobs)
    sets = {name: tuple(part.cpu() for part in pair) for name, pair in sets.items()}
    num = min(args.jobs, len(tasks))
    with ProcessPoolExecutor(num, context, begin, (args, sets, threads)) as pool:
        try:
            for future in as_completed([pool.submit(train, task) for task in tasks]):
                write_down(*future.result())
        except BrokenProcessPool:
            raise UserError(
                'a process that trained a network was killed, perhaps as memory was short; '
                'the same command continues: try fewer --jobs'
            ) from None
        except BaseException:
            # Nobody waits for the networks in training.
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def study(args: Arguments) -> tuple[Ranking, Ledger]:
    """Train what is missing; return how each proxy ranks the networks, and the ledger."""
    names, data = grid(args.grid), load_data(args)
    values = protocol_values(args, data)
    nums = args.ipc * data.num_classes, min(args.num_real or num_kept(data), num_kept(data))
    names = able(names, data, min(last_batch(num, batch_of(values)) for num in nums))
    parts_of(data, args.num_real, args.seed)  # a part that lacks a class is refused here
    proxies = read_proxies(args, data)
    tasks = all_tasks(args, data, names, proxies)
    settings = settings_of(args, data, num_real=args.num_real)
    sets = {name: pair for name, (_, pair) in proxies.items()}
    name = study_name('search', args)
    with Ledger(args.save_path, name, settings, args.command) as ledger:
        everything = [task for of_kind in tasks.values() for own in of_kind for task in own]
        train_missing(args, data, ledger, everything, sets)
        return Ranking(ledger, names, tasks), ledger


@script
def main(argv=None):
    """Run the study; print its table, write its CSV and its figure."""
    args = check_flags(study_arguments(make_parser(), argv, **DEFAULTS))
    ranking, ledger = study(args)
    if args.csv:
        ranking.write_csv(args.csv)
        print(args.csv)
    if args.out:
        ranking.draw(args.out)
    ledger.show(ranking.text())


if __name__ == '__main__':
    main()
