"""The rows of finished runs, one a run and evaluation network, from the folders of the runs."""

import os
import shlex
from dataclasses import dataclass, fields
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

from dataset.names import name_of
from evaluation.protocol import protocol, protocol_of, strategy_of
from experiment.flags import FLAGS, flags_of_kinds
from experiment.result import accuracy_text, label_of, load_result, method_of
from report.logs import (
    EXPERIMENT,
    FINISHED,
    images_seen,
    minutes_of,
    read_args,
    read_log,
    start_of,
    state_of,
)
from storage.kinds import check, word
from utils import UserError, plural, printable

SETTINGS = tuple(name for name, flag in FLAGS.items() if flag.column)
MADE = {'dataset': word}  # what the result file of a run says of it; the rest is compared


@dataclass(frozen=True)
class Row:
    """What a finished run gave on one evaluation network.

    settings: {flag: value} of the flags with a column; other: `flag=value` of the other flags that
    differ from the method's defaults; mean, std, set_means: accuracies in %; std: population std
    over networks; start: mean accuracy before the first step, None if it was not measured;
    images_seen: real images that a class of a set was matched with; minutes: of the clock.
    """

    settings: dict
    other: str
    label: str
    network: str
    protocol: str
    epochs: int
    mean: float
    std: float
    set_means: tuple[float, ...]
    start: float | None
    images_seen: int
    num_networks: int
    condense_minutes: float
    evaluate_minutes: float
    device: str
    commit: str
    started: str
    run: str
    command: str

    def __getitem__(self, column: str):
        """Return the value of a column: a setting, or a field."""
        return self.settings[column] if column in self.settings else getattr(self, column)

    @property
    def minutes(self) -> float:
        """Return the minutes of condensing and evaluation."""
        return self.condense_minutes + self.evaluate_minutes

    @property
    def sets_x_networks(self) -> str:
        """Return how many sets there are, and networks to evaluate each."""
        return f'{len(self.set_means)} x {self.num_networks // len(self.set_means)}'

    @property
    def accuracy(self) -> str:
        """Return mean and deviation as they stand in tables."""
        return accuracy_text(self.mean, self.std, self.num_networks)

    @property
    def how(self) -> str:
        """Return how networks are trained: protocol and epochs."""
        return f'{self.protocol}, {plural(self.epochs, "epoch")}'

    @property
    def stored(self) -> str:
        """Return the stored images of a class, and how many tiles each holds: `1 x 2²`."""
        factor = self.settings['factor']
        return f'{self.settings["ipc"]}{f" x {factor}²" if factor > 1 else ""}'


FIELDS = {field.name: field.type for field in fields(Row) if field.name != 'settings'}
COLUMNS = (*SETTINGS, *FIELDS)
# What every row says.
FILLED = (
    *('dataset', 'method', 'model', 'ipc', 'factor', 'seed', 'precision'),
    *('label', 'network', 'protocol', 'run', 'command'),
)


def settings_of(args: dict) -> dict:
    """Return the settings of a run that have a column, None where it does not take the flag."""
    values = {name: args.get(name) for name in SETTINGS}
    values['method'] = method_of(args)
    values['dataset'] = name_of(args['dataset'])
    values['factor'] = values['factor'] or 1  # of methods without tiles
    return values


def other_settings(args: dict) -> str:
    """Return the flags without a column that make a run another experiment, as `flag=value …`."""
    names = flags_of_kinds('data', 'experiment', 'clusters')
    changed = args.get('changed') or {}
    return ' '.join(
        f'{name}={value}'
        for name, value in changed.items()
        if name in names and name not in SETTINGS
    )


def result_in(folder: Path) -> Path | None:
    """Return the result file of a run's folder, None if it is not finished."""
    results = sorted(folder.glob('res_*.pt'))
    if len(results) > 1:
        raise UserError(
            f'{folder} holds {len(results)} result files, a run has one; '
            'give each run a folder of its own'
        )
    return results[0] if results else None


def rows_of(folder: Path) -> list[Row]:
    """Return a row per evaluation network of the finished run in folder, [] if it is not finished.

    Raises UserError for files that cannot be read, or do not belong together.
    """
    path = result_in(folder)
    typed = read_args(folder, FINISHED if path else EXPERIMENT)
    if not path:
        return []
    result, records = load_result(path), read_log(folder)
    args, num_sets = result['args'], len(result['data'])
    check(path, 'result file', args, MADE)
    if settings_of(args) != settings_of(typed):
        raise UserError(f'{path} and args.json are of different runs; restore them from a copy')
    accs = result['accs_all_exps']
    if not accs or any(len(values) % num_sets for values in accs.values()):
        raise UserError(
            f'{path} does not hold as many accuracies for each of its {num_sets} sets; '
            'restore it from a copy'
        )
    of_run = {
        'settings': settings_of(args),
        'other': other_settings(args),
        'label': label_of(args),
        'images_seen': images_seen(records, args, num_sets),
        'condense_minutes': rounded(minutes_of(records, 'seconds')),
        'evaluate_minutes': rounded(minutes_of(records, 'evaluate_seconds')),
        'device': typed['environment']['device'],
        'commit': typed['environment']['commit'][:7],
        'started': typed['started'],
        'run': folder.name,
        'command': shlex.join(['python', *typed['command']]),
    }
    rows = [
        Row(**of_run, **measured(network, values, args, num_sets), start=start_of(records, network))
        for network, values in accs.items()
    ]
    empty = [name for row in rows for name in FILLED if row[name] in ('', None)]
    if empty:
        raise UserError(f'{path} does not say its {empty[0]}; restore it from a copy')
    return rows


def measured(network: str, values: list[float], args: dict, num_sets: int) -> dict:
    """Return what a row says of one evaluation network and its accuracies of all sets."""
    percent = 100 * np.array(values)
    settings = strategy_of(args), args.get('epoch_eval_train'), protocol_of(args)
    how = protocol(network, args['dataset'], *settings)
    return {
        'network': network,
        'protocol': how['protocol'],
        'epochs': how['epochs'],
        'mean': rounded(percent.mean()),
        'std': rounded(percent.std()),
        'set_means': tuple(map(rounded, percent.reshape(num_sets, -1).mean(1))),
        'num_networks': len(values),
    }


def rounded(value: float) -> float:
    """Round to the three decimals that the file keeps."""
    return round(float(value), 3)


def collect(folder: Path) -> tuple[list[Row], list[str], list[str]]:
    """Return the rows of all runs below folder, the unfinished runs, and what cannot be read."""
    if not folder.is_dir():
        raise UserError(f'{folder}: no such folder of runs')
    rows, unfinished, broken = [], [], []
    # A name that begins with a dot is of a copy that was not finished.
    for run in sorted(path for path in folder.iterdir() if not path.name.startswith('.')):
        try:
            if not is_run(run):
                continue
            of_run = rows_of(run)
            unfinished += [] if of_run else [printable(state_of(run))]
            rows += of_run
        except UserError as error:
            broken.append(printable(error))
        except OSError as error:  # a folder that may not be searched, a disk that fails
            broken.append(printable(f'{run} cannot be read ({error.strerror})'))
    return rows, unfinished, broken


def is_run(path: Path) -> bool:
    """Tell whether path is the folder of a run; raise UserError if its name cannot be written."""
    if not path.is_dir():
        return False
    own = 'args.json', 'checkpoint.pt', 'res_*.pt'
    if not any(fnmatch(name, pattern) for name in os.listdir(path) for pattern in own):
        return False
    if path.name.encode(errors='ignore').decode() != path.name:
        raise UserError(f'{path}: its name is not UTF-8, as tables must be; rename the folder')
    return True


def merge_rows(old: list[Row], new: list[Row]) -> list[Row]:
    """Return old and new rows, sorted; a new row replaces the old one of its run and network.

    So it does if only the name of the run is another: its folder was renamed.
    """
    known = set(map(_measurement, new))
    old = [row for row in old if not row.started or _measurement(row) not in known]
    rows = {(row.run, row.network): row for row in [*old, *new]}
    order = ('dataset', 'ipc', 'factor', 'model', 'method', 'draw', 'layer_idx', 'num_cluster')

    def key(row):
        values = [row[name] for name in order]
        return [(value is not None, value) for value in values] + [row.run, row.network]

    return sorted(rows.values(), key=key)


def _measurement(row):
    settings = tuple(row.settings.values())
    return (*settings, row.other, row.network, row.started, row.set_means, row.num_networks)
