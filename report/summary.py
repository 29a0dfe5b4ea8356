"""The summary of finished runs: one row a run and judging network, kept as CSV.

Rows of runs whose folders are gone stay, so that the file collects what several machines ran.
"""

import csv
import io
import json
import re
import shlex
from pathlib import Path

import numpy as np

from errors import UserError
from evaluation.judge import protocol
from runfolder import is_running
from storage import label_of, load_result, write_atomic

SETTINGS = (
    'dataset', 'method', 'model', 'ipc', 'num_cluster', 'layer_idx', 'norm', 'draw', 'mix', 'equal_batch',
    'Iteration', 'seed', 'precision', 'other',
)  # fmt: skip
# Flags that make no other experiment of a run, or have a column of their own.
COUNTED = (*SETTINGS, 'num_exp', 'num_eval', 'eval_every', 'eval_mode', 'compile', 'protocol')
COLUMNS = (
    *SETTINGS, 'label', 'network', 'protocol', 'epochs', 'mean', 'std', 'set_means', 'num_networks',
    'condense_minutes', 'judge_minutes', 'device', 'commit', 'started', 'run', 'command',
)  # fmt: skip
CLUSTER_FLAGS = ('num_cluster', 'layer_idx', 'norm', 'draw', 'mix')


def settings_of(args: dict) -> dict:
    """Return the settings that tell experiments apart, as text; flags of clusters only where they count."""
    values = {key: args.get(key) for key in SETTINGS}
    values['method'] = args.get('method') or Path(args['synset']).stem
    values['dataset'] = Path(args['dataset']).stem
    values['equal_batch'] = values['equal_batch'] or None
    if not values['method'].startswith('BS') and not values['equal_batch']:
        values |= dict.fromkeys(CLUSTER_FLAGS)
    return {key: '' if value is None else str(value) for key, value in values.items()}


def other_settings(run: str, args: dict) -> str:
    """Return the flags in the name of a run that are not COUNTED, as `flag=value` with blanks between."""
    names = '|'.join(map(re.escape, args))
    parts = re.split(f'_(?=(?:{names})=)', run)[1:]
    return ' '.join(part for part in parts if part.split('=')[0] not in COUNTED)


def rows_of(folder: Path) -> list[dict]:
    """Return a row per network that judged the finished run in folder, [] if it is not finished.

    Raises UserError for a result file or a log that cannot be read.
    """
    results = sorted(folder.glob('res_*.pt'))
    if not results:
        return []
    result = load_result(results[0])
    try:
        typed = json.loads((folder / 'args.json').read_text())
        records = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise UserError(f'{folder}: args.json or log.jsonl cannot be read ({error})') from error
    args, num_sets = result['args'], len(result['data'])
    common = settings_of(args) | {
        'other': other_settings(folder.name, args),
        'label': label_of(args), 'run': folder.name, 'command': shlex.join(['python', *typed['command']]),
        'condense_minutes': sum(record.get('seconds', 0) for record in records) / 60,
        'judge_minutes': sum(record.get('judge_seconds', 0) for record in records) / 60,
        'device': typed['environment']['device'], 'commit': typed['environment']['commit'][:7],
        'started': typed['started'],
    }  # fmt: skip
    rows = []
    for network, values in result['accs_all_exps'].items():
        how = protocol(network, common['dataset'], args['dsa_strategy'], args['epoch_eval_train'])
        percent = 100 * np.array(values)
        means = percent.reshape(num_sets, -1).mean(1)
        rows.append(common | {
            'network': network, 'protocol': how['protocol'], 'epochs': how['epochs'], 'mean': percent.mean(),
            'std': percent.std(), 'set_means': ' '.join(f'{mean:.3f}' for mean in means),
            'num_networks': len(values),
        })  # fmt: skip
    return [{key: as_text(value) for key, value in row.items()} for row in rows]


def as_text(value) -> str:
    return f'{value:.3f}' if isinstance(value, float) else str(value)


def collect(folder: Path) -> tuple[list[dict], list[str], list[str]]:
    """Return the rows of all runs below folder, the names of the unfinished, and what cannot be read."""
    if not folder.is_dir():
        raise UserError(f'{folder}: no such folder of runs')
    rows, unfinished, broken = [], [], []
    for run in sorted(path.parent for path in folder.glob('*/args.json')):
        try:
            of_run = rows_of(run)
            unfinished += [] if of_run else [state_of(run)]
        except UserError as error:
            broken.append(str(error))
            continue
        except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
            broken.append(f'{run}: files of another version or damaged ({error!r})')
            continue
        rows += of_run
    return rows, unfinished, broken


def state_of(run: Path) -> str:
    """Return one line on an unfinished run: how far it is, and whether a process is at it."""
    lines = (run / 'log.jsonl').read_text().splitlines()
    records = [json.loads(line) for line in lines if line.endswith('}')]
    losses = [record for record in records if 'loss' in record]
    judged = [record for record in records if 'accs' in record]
    parts = ['no iteration yet']
    if losses:
        last = losses[-1]
        parts = [f'set {last["exp"]}, iteration {last["iteration"]}, loss {last["loss"]:.2f}']
    if judged:
        mean = 100 * np.mean(next(iter(judged[-1]['accs'].values())))
        parts.append(f'{mean:.2f} % at iteration {judged[-1]["iteration"]}')
    parts.append('running' if is_running(run) else 'stopped')
    return f'{run.name}: {", ".join(parts)}'


def read(path: Path) -> list[dict]:
    """Read a summary; raises UserError if it is none."""
    if not path.exists():
        return []
    try:
        with path.open(newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except UnicodeDecodeError:
        reader = rows = None
    if not reader or tuple(reader.fieldnames or ()) != COLUMNS or any(None in row.values() for row in rows):
        raise UserError(
            f'{path} is damaged or has other columns than a summary; remove it to have it made anew'
        )
    return rows


def merge(old: list[dict], new: list[dict]) -> list[dict]:
    """Return old and new rows, sorted; a new row replaces the old one of the same run and network."""
    rows = {(row['run'], row['network']): row for row in [*old, *new]}
    order = ('dataset', 'model', 'method', 'ipc', 'layer_idx', 'num_cluster', 'run', 'network')
    return sorted(
        rows.values(),
        key=lambda row: [(len(row[key]), row[key]) if key == 'ipc' else row[key] for key in order],
    )


def write(path: Path, rows: list[dict]) -> None:
    """Write a summary."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue().encode())
