"""What the folder of a run says: its arguments, and its log: how far it is, what it started from.

Both are checked before they are believed; `log.jsonl.xz` is the log of a kept run.
"""

import json
import lzma
from math import fsum
from pathlib import Path

import numpy as np

from experiment.result import ARGS
from experiment.run import is_running
from storage.files import check_file, load_json
from storage.kinds import check, count, fault, number, share, word
from utils import UserError

# What curves need of args.json, and what the report needs besides.
EXPERIMENT = ARGS | {'dataset': word, 'ipc': count}
FINISHED = EXPERIMENT | {
    'model': word,
    'seed': count,
    'precision': word,
    'command': [word],
    'environment': {'device': word, 'commit': word},
    'started': word,
}


def accuracies(value) -> bool:
    """Tell whether value is a list of at least one share."""
    return fault(value, [share]) is None and len(value) > 0


def amount(value) -> bool:
    """Tell whether value is a number from 0, of which many can be added."""
    return number(value) and 0 <= value < 1e15


RECORD = {
    'exp': count,
    'iteration': count,
    'seconds?': amount,
    'evaluate_seconds?': amount,
    'loss?': number,
    'batch_real?': amount,
    'image_steps?': count,
    'grad_norm_real?': {str: number},
    'grad_norm_syn?': {str: number},
    'accs?': {str: accuracies},
}


def read_args(folder: Path, kind: dict = EXPERIMENT) -> dict:
    """Return the arguments of a run; raise UserError if args.json is not of this kind."""
    path = folder / 'args.json'
    return check(path, 'file of arguments', load_json(path, 'file of arguments'), kind)


def read_log(folder: Path, partial: bool = False) -> list[dict]:
    """Return the records of a run's log, compressed or not.

    partial: leave out half a line at the end, of a run that is being written. Raises UserError if
    the log cannot be read.
    """
    path = folder / 'log.jsonl'
    if not path.exists() and path.with_suffix('.jsonl.xz').exists():
        path = path.with_suffix('.jsonl.xz')
    check_file(path, 'log')
    content = path.read_bytes()
    try:
        content = lzma.decompress(content) if path.suffix == '.xz' else content
        *lines, last = content.decode().split('\n')
    except (lzma.LZMAError, ValueError) as error:
        raise UserError(
            f'{path} cannot be read as a log ({error}); restore it from a copy'
        ) from error
    if last and not partial:
        lines.append(last)
    return check(path, 'log', [_record(path, i, line) for i, line in enumerate(lines)], [RECORD])


def _record(path, position, line):
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(
            f'{path} cannot be read as a log: line {position + 1} is no JSON; '
            'restore it from a copy'
        ) from error


def start_of(records: list[dict], network: str) -> float | None:
    """Return the mean accuracy in % of the sets before any step, None if it was not measured."""
    evaluated = [r['accs'] for r in records if r.get('accs') and r['iteration'] == 0]
    values = [value for accs in evaluated for value in accs.get(network, [])]
    stepped = any('loss' in record for record in records)
    return round(100 * float(np.mean(values)), 3) if values and stepped else None


def images_seen(records: list[dict], args: dict, num_sets: int) -> int:
    """Return how many real images a class of a set was matched with, repetitions counted."""
    steps = args.get('outer_loop') or 1
    # A network of CAFE may be left sooner. Python's sum rounds in another way from 3.12 on.
    seen = ((r.get('batch_real') or 0) * r.get('image_steps', steps) for r in records)
    return round(fsum(seen) / num_sets)


def minutes_of(records: list[dict], key: str) -> float:
    """Return the minutes that the records count under a key of seconds."""
    return fsum(record.get(key) or 0 for record in records) / 60


def state_of(run: Path) -> str:
    """Return one line on an unfinished run: how far it is, and whether a process works at it."""
    records = read_log(run, partial=True)
    iterations = [record for record in records if 'accs' not in record]
    evaluated = [record for record in records if record.get('accs')]
    parts = ['no iteration yet']
    if iterations:
        last = iterations[-1]
        parts = [f'set {last["exp"]}, iteration {last["iteration"]}']
        parts += [f'loss {last["loss"]:.2f}'] if last.get('loss') is not None else []
    if evaluated:
        network, values = next(iter(evaluated[-1]['accs'].items()))
        of_one = f' of {network}' if len(evaluated[-1]['accs']) > 1 else ''
        mean = f'{100 * np.mean(values):.2f} %{of_one}'
        parts.append(f'{mean} at iteration {evaluated[-1]["iteration"]}')
    parts.append('running' if is_running(run) else 'stopped')
    return f'{run.name}: {", ".join(parts)}'
