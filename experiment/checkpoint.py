"""The checkpoint of a run: what it holds, whose it is, and how a method continues from it."""

from dataclasses import fields
from pathlib import Path

import torch

from experiment.progress import Progress, stores_apart
from storage.files import load_tensors
from storage.kinds import (
    MISFITS,
    anything,
    check,
    count,
    image_set,
    number,
    numeric,
    plain,
    share,
    switch,
)
from utils import UserError, is_memory, plural

FORMAT = 1  # another number: written by a version whose checkpoints are read differently
REMEDY = 'restore it from a copy, or choose another --save_path to start again'
PROGRESS = {
    'exp': count,
    'iteration': count,
    'seconds': number,
    'evaluated': switch,
    'accs': {str: [share]},
    'evaluate_seconds': number,
    'sets': [image_set],
    'stored': [image_set],
    'accs_all_exps': {str: [share]},
    'method?': {str: anything},
    'given?': [image_set],
}
KIND = {'format': count, 'args': {str: plain}, 'log_bytes': count, 'progress': PROGRESS}
assert {name.removesuffix('?') for name in PROGRESS} == {part.name for part in fields(Progress)}


def load_checkpoint(path: Path) -> dict | None:
    """Return the content of a checkpoint, None if there is none; raise UserError if damaged."""
    if not path.exists():
        return None
    state = load_tensors(path, 'checkpoint')
    found = state.get('format') if isinstance(state, dict) else None
    if count(found) and found != FORMAT:
        raise UserError(
            f'{path} is a checkpoint of format {found}, this version reads {FORMAT}; {REMEDY}'
        )
    return check(path, 'checkpoint', state, KIND, REMEDY)


def progress_of(state: dict) -> Progress:
    """Return where the run of a checkpoint stands."""
    return Progress(**{part.name: state['progress'].get(part.name) for part in fields(Progress)})


def check_same(path: Path, stored: dict, args: dict) -> None:
    """Raise UserError unless the arguments stored in path are args."""
    other = difference(stored, args)
    if other:
        raise UserError(f'{path} {other}; choose another --save_path')


def difference(stored: dict, args: dict) -> str | None:
    """Return how the stored arguments differ from args, None if they do not.

    Data sets and sets to evaluate count by their content, not their path. data_hash stands for the
    data, and the hash of a set is in the run's name.
    """
    # What is no flag has a name that a person understands.
    names = {
        'device_type': 'a device of the kind',
        'data_hash': 'data of the hash',
        'clusters_hash': 'clusters (--cluster_path) of the hash',
    }
    # Earlier versions did not keep it.
    stored = {'clusters_hash': args.get('clusters_hash')} | stored
    for key in sorted((stored.keys() | args.keys()) - {'dataset', 'synset', 'changed'}):
        # A switch that is off may have come after the file.
        old, new = (
            None if values.get(key) is False else values.get(key) for values in (stored, args)
        )
        if old != new:
            name = names.get(key, f'--{key}')
            return f'was made with {name} {old}, this command has {name} {new}'
    return None


def check_within(path: Path, progress: Progress, args: dict) -> None:
    """Raise UserError if progress is none of a run of these arguments.

    It is beyond their end, where no loop would stop, or finished sets are missing.
    """
    num_sets, last = args.get('num_exp', 0), args.get('Iteration', 0)
    where = f'{path} is at iteration {progress.iteration} of set {progress.exp}'
    if progress.exp > num_sets or progress.iteration > last:
        raise UserError(f'{where}, but the run has {plural(num_sets, "set")} of '
                        f'{plural(last, "iteration")}; {REMEDY}')  # fmt: skip
    networks = args.get('num_eval', 0)
    done = progress.exp * networks
    accuracies = [len(values) for values in progress.accs_all_exps.values()]
    apart = stores_apart(args)
    kept = 0 if 'synset' in args else progress.exp  # an evaluation has its sets from a file
    whole = len(progress.sets) == kept and len(progress.stored) == (kept if apart else 0)
    whole = whole and (progress.method is not None or not progress.iteration)
    # Nothing is saved between the evaluation at the end of a set and the next set.
    at_end = progress.iteration == last
    whole = whole and not (at_end and progress.evaluated)
    whole = whole and all(len(values) <= networks for values in progress.accs.values())
    given = progress.given is None or (at_end and len(progress.given) == (2 if apart else 1))
    whole = whole and given
    own = (progress.method or {}).get('iteration', progress.iteration)
    whole = whole and count(own) and own == progress.iteration
    whole = whole and bool(accuracies) == bool(done)
    if not whole or any(number != done for number in accuracies):
        raise UserError(f'{where}, but not all sets before it are there; {REMEDY}')


def restore(method, state: dict, path: Path) -> None:
    """Let method continue from the state in the checkpoint path, or raise UserError."""
    fresh = {name: type(value) for name, value in method.state_dict().items()}
    try:
        method.load_state_dict(state)
        # What was taken over must be what was stored: copying fits a shape that is too small.
        fits = same(method.state_dict(), state) and all(
            count(state[name]) for name, kind in fresh.items() if kind is int
        )
    except MISFITS as error:
        if is_memory(error):
            raise
        fits = False
    if not fits:
        raise UserError(f'{path} does not hold the state of this method; {REMEDY}')


def finite(value) -> bool:
    """Tell whether every number in the tensors of a state is finite."""
    if isinstance(value, torch.Tensor):
        return bool(value.isfinite().all())
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    return all(map(finite, value)) if isinstance(value, list | tuple) else True


def same(value, other) -> bool:
    """Tell whether two states are equal, and every number of them is finite."""
    if isinstance(value, torch.Tensor):
        return (
            isinstance(other, torch.Tensor)
            and value.dtype == other.dtype
            and value.shape == other.shape
            and torch.equal(value.cpu(), other.cpu())
            and numeric(value)
        )
    if isinstance(value, dict):
        keys = isinstance(other, dict) and value.keys() == other.keys()
        return keys and all(same(part, other[key]) for key, part in value.items())
    if isinstance(value, list | tuple):
        long = isinstance(other, list | tuple) and len(value) == len(other)
        return long and all(map(same, value, other))
    return type(value) is type(other) and value == other
