"""Sets that a study trains on: each is an ordinary run of main.py, reused when it is finished.

A set is spelled like --method (DC, BS, herding, …), in quotes with flags of its own:
'DC --Iteration 10', 'DM --recipe tiles'.
"""

import contextlib
import io
import shlex
import sys
from pathlib import Path

import torch

from condense import build, condense, try_everything
from dataset.data import Data
from dataset.names import name_of, shortened
from evaluation.evaluate import evaluate_network
from evaluation.protocol import batch_of, eval_pool, protocol_of, strategy_of
from evaluation.sets import read_sets
from experiment.arguments import Arguments, derived, num_images, parse_condensing
from experiment.flags import EVERY_RUN, FLAGS
from experiment.parser import Parser, default_text
from experiment.result import is_finished, result_of
from experiment.shelf import keywords_of, needs_clusters, own_flags, spelled, spellings, taken_flags
from experiment.values import place, positive
from figures.style import check_picture
from methods import METHODS, SHELF
from methods.sampling import make_sampler
from storage.files import MOST, check_writable
from utils import Rng, UserError

# Flags of the study itself.
STUDY = (
    'dataset', 'data_path', 'im_size', 'resize', 'seed', 'device', 'precision', 'model', 'ipc',
    'lr_net', 'batch_train', 'num_eval', 'epoch_eval_train', 'protocol', 'save_path',
)  # fmt: skip
# Of these the run of a set gets others than were typed.
READING = {'data_path', 'im_size', 'resize'}
OF_THE_STUDY = {*READING, 'dataset', 'num_eval', 'protocol', 'seed', 'ipc', 'save_path'}
# What a study decides, or what makes no other set.
LEFT_OUT = {'method', 'recipe', 'draw', 'eval_mode', 'num_exp', 'eval_every', 'zca', 'data_device'}
LEFT_OUT |= {'tensorboard'}
PLACES = {'data_path', 'save_path', 'cluster_path', 'device'}
EVALUATION = {'num_exp', 'num_eval', 'eval_every', 'epoch_eval_train'}


def study_parser(doc: str, values: dict) -> Parser:
    """Return a parser of a study's own flags, and of those that any method of the shelf takes.

    values: {flag: default} of the study, where it differs from the table's.
    """
    names = set().union(*map(own_flags, METHODS.values()), keywords_of(SHELF.sampler), EVERY_RUN)
    defaults = {name: default_text(FLAGS[name].default) for name in EVERY_RUN}
    defaults = dict.fromkeys(names, 'of the method') | defaults | values
    return Parser(doc, names - LEFT_OUT, SHELF.tables, defaults)


def add_numbers_and_outputs(group, *numbers: tuple[str, str]) -> None:
    """Add flags of whole numbers from 1 on, (name, help) each, and those of table and figure."""
    for flag, text in numbers:
        group.add_argument(f'--{flag}', type=positive, metavar='N', help=text)
    group.add_argument('--csv', type=place, metavar='FILE', help='write the accuracies to it')
    group.add_argument('--out', type=place, metavar='FILE', help='draw the accuracies to it')


def checked_outputs(args: Arguments) -> Path | None:
    """Return the file of the figure, if any; raise UserError for outputs that cannot be written."""
    if args.csv:
        check_writable(args.csv, '--csv', '.csv')
    return args.out and check_picture(args.out)


def study_arguments(parser: Parser, argv: list[str], **defaults) -> Arguments:
    """Parse the flags of a study; defaults: where they differ from the table's.

    Beside the flags the result has `typed`, {flag: value}, and `command`, the line to type again.
    """
    typed = vars(parser.parse_args(argv))
    values = derived({*STUDY, 'zca', 'data_device'}, typed, defaults)
    known = {name: typed[name] for name in parser.names if name in typed}
    own = {name: value for name, value in typed.items() if name not in parser.names}
    name = f'applications.{Path(sys.argv[0]).stem}'
    line = shlex.join(['python', '-m', name, *map(str, argv)])
    return Arguments(**values, **own, typed=known, command=line)


def settings_of(args: Arguments, data: Data, **more) -> dict:
    """Return all that decides an accuracy of the study, but for the set and its number."""
    values = {name: getattr(args, name) for name in STUDY if name not in PLACES | {'num_eval'}}
    return values | {'data_hash': data.fingerprint, 'device_type': data.device.type} | more


def spelling_of(name: str) -> tuple[str, list[str]]:
    """Return what is typed for --method, and the words of the flags that a set has of its own."""
    method, *words = shlex.split(name)
    return method, words


def check_names(flag: str, names: list[str], others: tuple[str, ...]) -> None:
    """Raise UserError unless every name is a set that can be made, or one of the others."""
    known, fixed = spellings(SHELF).keys(), {*STUDY, *PLACES, *LEFT_OUT, 'h', 'help'} - {'recipe'}
    for name in names:
        try:
            method, words = spelling_of(name)
        except ValueError:
            raise UserError(f'{flag} {name!r}: these quotes hold no set') from None
        if words and method in others:
            raise UserError(f'{flag} {name!r}: {method} takes no flags of its own')
        if method not in {*known, *others}:
            raise UserError(
                f'{flag} {method} is no method; there are: {", ".join(sorted({*known, *others}))}'
            )
        for word in words:
            own = word.partition('=')[0].lstrip('-').removeprefix('no-')
            if word.startswith('-') and own in fixed:
                raise UserError(f'{flag} {name!r}: {word} is the same for all sets, or not taken')
    if len({*names}) < len(names):
        raise UserError(f'{flag}: a name is there twice; leave one out')


def check_taken(args: Arguments, flag: str, runs: list[Arguments]) -> None:
    """Raise UserError for a typed flag that no run takes."""
    taken = {*STUDY, *PLACES}.union(
        *(taken_flags(SHELF, run.method, vars(run).get('draw')) for run in runs)
    )
    for name in args.typed.keys() - taken:
        raise UserError(f'--{name} does nothing for any of {flag}: leave it out')


def check_twice(flag: str, titles: dict[str, str]) -> None:
    """Raise UserError if two names are of one set; titles: {name: what the ledger calls it}."""
    names = {}
    for name, called in titles.items():
        if called in names:
            raise UserError(f'{flag}: {names[called]!r} and {name!r} are one set; leave one out')
        names[called] = name


def run_words(args: Arguments, name: str, dataset: str, seed: int) -> list[str]:
    """Return the words of main.py that make a set of a data set."""
    spelling, own = spelling_of(name)
    method, draw = spellings(SHELF)[spelling]
    words = ['--method', spelling, '--dataset', dataset, '--ipc', args.ipc, '--seed', seed]
    words += ['--num_exp', 1, '--num_eval', 1, '--save_path', args.save_path]
    if hasattr(METHODS[method], 'step'):
        words += ['--eval_every', 0]
    taken = (taken_flags(SHELF, method, draw) | PLACES) - OF_THE_STUDY
    # A part of the data is read from memory, the whole as the study reads it.
    taken |= READING if dataset == args.dataset else set()
    for flag in sorted(args.typed.keys() & taken):
        value = args.typed[flag]
        if isinstance(value, bool):
            words.append(f'--{flag}' if value else f'--no-{flag}')
        else:
            words += [f'--{flag}', value]
    return [*map(str, words), *own]  # of a flag that is there twice, the last counts


def run_of(args: Arguments, name: str, dataset: str, seed: int) -> Arguments:
    """Return the arguments of the run that makes a set; raise UserError for what cannot work."""
    try:
        return parse_condensing('', run_words(args, name, dataset, seed), SHELF, draw='uniform')
    except UserError as error:
        if spelling_of(name)[1]:
            raise UserError(f'{name!r}: {error}') from error
        raise


def title(name: str, run: Arguments) -> str:
    """Return what a set is called in a ledger: its name, and the flags that make it another one."""
    changed = {key: value for key, value in run.changed.items() if key not in EVALUATION}
    return ' '.join([spelling_of(name)[0], *(f'{key}={value}' for key, value in changed.items())])


def file_of(run: Arguments, data: Data) -> Path:
    """Return the result file of a run, whether it is there or not."""
    return result_of(run, spelled(run.method, vars(run).get('draw')), data)


def check_sizes(args: Arguments, data: Data, runs: list[Arguments]) -> None:
    """Raise UserError if a class of data has fewer images than the largest set holds of it."""
    sizes = [len(members) for members in data.indices_class]
    num = max((num_images(vars(run)) for run in runs), default=0)
    if num > min(sizes):
        name = data.class_names[sizes.index(min(sizes))]
        raise UserError(
            f'--ipc {args.ipc} makes a set of {num} images a class, but class {name!r} of '
            f'{data.name} has {min(sizes)}; use a smaller --ipc'
        )


def check_runs(data: Data, runs: list[Arguments]) -> None:
    """Raise UserError for what main.py would refuse of these runs of data."""
    for run in runs:
        if not is_finished(file_of(run, data), data):
            method, pool = METHODS[run.method], eval_pool(run.eval_mode, run.model)
            try_everything(method, data, make_sampler, run, pool)
            # Of clusters it has built the method; a method without a step is done when built.
            if hasattr(method, 'step') and not needs_clusters(vars(run).get('draw')):
                build(method, data, make_sampler(data, run), run.replaced(compile=False), 0)


def study_name(kind: str, args: Arguments) -> str:
    """Return the head of the name of a study's folder."""
    sets = '+'.join(map(name_of, vars(args).get('tasks') or [args.dataset]))
    name = f'{kind}_{sets}_{args.model}_{args.ipc}ipc_seed{args.seed}_{args.precision}'
    return shortened(name, MOST - 9)


def protocol_values(args: Arguments, data: Data) -> dict:
    """Return what evaluation/protocol.py reads of a run, of a study on such data."""
    return {'protocol': args.protocol, 'dataset': data.name, 'batch_train': args.batch_train}


def joined(sets: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Return several sets, of images (N, C, H, W) and labels (N,), as one."""
    return tuple(torch.cat(parts) for parts in zip(*sets, strict=True))


def made_set(run: Arguments, data: Data) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the set of a run, on the device of the data; a missing one is made."""
    path = file_of(run, data)
    if not is_finished(path, data):
        print(f'making {path}', flush=True)
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                condense(METHODS[run.method], data, make_sampler, run)
        finally:
            # What it prints of its plan stands in its folder: only notices of the data are news.
            for line in said.getvalue().splitlines():
                if line.startswith(f'{data.name}: '):
                    print(line)
    return read_sets(path, data).pairs[0]


def accuracy_of(
    synset, data: Data, args: Arguments, rng: Rng, epochs: int | None, model: str | None = None
) -> float:
    """Train a fresh network on a set by the protocol of the study; return its test accuracy.

    synset: images (N, C, H, W) and labels (N,); epochs: None for the protocol's own.
    """
    values = protocol_values(args, data)
    return evaluate_network(
        *synset, data, model or args.model, rng, strategy=strategy_of(values), epochs=epochs,
        lr_net=args.lr_net, batch_train=batch_of(values), precision=args.precision,
        name=protocol_of(values),
    )  # fmt: skip
