"""What the log of a run says: how far it is, where it started, how many real images it saw."""

import json
from pathlib import Path

import numpy as np

from experiment.run import is_running


def start_of(records: list[dict], network: str) -> float | None:
    """Return the mean accuracy in % of the sets before any step, None if it was not measured."""
    starts = [r['accs'].get(network, []) for r in records if 'accs' in r and r['iteration'] == 0]
    values = [value for accs in starts for value in accs]
    stepped = any('loss' in record for record in records)
    return round(100 * float(np.mean(values)), 3) if values and stepped else None


def images_seen(records: list[dict], args: dict, num_sets: int) -> int:
    """Return how many real images a class of a set was matched with, repetitions counted."""
    steps = args.get('outer_loop') or 1
    return round(sum(r.get('batch_real', 0) for r in records) * steps / num_sets)


def state_of(run: Path) -> str:
    """Return one line on an unfinished run: how far it is, and whether a process works at it."""
    lines = (run / 'log.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines if line.endswith('}')]
    iterations = [record for record in records if 'accs' not in record]
    evaluated = [record for record in records if record.get('accs')]
    parts = ['no iteration yet']
    if iterations:
        last = iterations[-1]
        parts = [f'set {last["exp"]}, iteration {last["iteration"]}']
        parts += [f'loss {last["loss"]:.2f}'] if 'loss' in last else []
    if evaluated:
        mean = 100 * np.mean(next(iter(evaluated[-1]['accs'].values())))
        parts.append(f'{mean:.2f} % at iteration {evaluated[-1]["iteration"]}')
    parts.append('running' if is_running(run) else 'stopped')
    return f'{run.name}: {", ".join(parts)}'
