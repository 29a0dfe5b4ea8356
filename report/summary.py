"""The summary of finished runs: one row a run and evaluation network, kept as CSV.

Rows of runs whose folders are gone stay, so the file collects what several machines ran.
"""

import csv
import io
import json
import shlex
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from evaluation.protocol import protocol, strategy_of
from experiment.flags import FLAGS, flags_of_kinds
from experiment.result import label_of, load_result
from report.kept import read_log
from report.logs import images_seen, start_of, state_of
from storage.files import write_atomic
from utils import UserError

SETTINGS = tuple(name for name, flag in FLAGS.items() if flag.column)


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
    def stored(self) -> str:
        """Return the stored images of a class, and how many tiles each holds: `1 x 2²`."""
        factor = self.settings['factor']
        return f'{self.settings["ipc"]}{f" x {factor}²" if factor > 1 else ""}'


FIELDS = {field.name: field.type for field in fields(Row) if field.name != 'settings'}
COLUMNS = (*SETTINGS, *FIELDS)


def settings_of(args: dict) -> dict:
    """Return the settings of a run that have a column, None where it does not take the flag."""
    values = {name: args.get(name) for name in SETTINGS}
    values['method'] = args.get('method') or Path(args['synset']).stem
    values['dataset'] = Path(args['dataset']).stem
    values['factor'] = values['factor'] or 1  # of methods without tiles
    return values


def other_settings(args: dict) -> str:
    """Return the flags without a column that make a run another experiment, as `flag=value …`."""
    names = flags_of_kinds('data', 'experiment', 'clusters')
    changed = args.get('changed', {})
    return ' '.join(
        f'{name}={value}'
        for name, value in changed.items()
        if name in names and name not in SETTINGS
    )


def rows_of(folder: Path) -> list[Row]:
    """Return a row per evaluation network of the finished run in folder, [] if it is not finished.

    Raises UserError for a result file or a log that cannot be read.
    """
    results = sorted(folder.glob('res_*.pt'))
    if not results:
        return []
    result = load_result(results[0])
    try:
        typed = json.loads((folder / 'args.json').read_text())
        records = read_log(folder)
    except (OSError, ValueError) as error:
        raise UserError(f'{folder}: args.json or its log cannot be read ({error})') from error
    args, num_sets, rows = result['args'], len(result['data']), []
    for network, values in result['accs_all_exps'].items():
        settings, percent = settings_of(args), 100 * np.array(values)
        epochs = args['epoch_eval_train']
        how = protocol(network, settings['dataset'], strategy_of(args), epochs)
        row = Row(
            settings=settings,
            other=other_settings(args),
            label=label_of(args),
            network=network,
            protocol=how['protocol'],
            epochs=how['epochs'],
            mean=rounded(percent.mean()),
            std=rounded(percent.std()),
            set_means=tuple(map(rounded, percent.reshape(num_sets, -1).mean(1))),
            start=start_of(records, network),
            images_seen=images_seen(records, args, num_sets),
            num_networks=len(values),
            condense_minutes=rounded(sum(r.get('seconds', 0) for r in records) / 60),
            evaluate_minutes=rounded(sum(r.get('evaluate_seconds', 0) for r in records) / 60),
            device=typed['environment']['device'],
            commit=typed['environment']['commit'][:7],
            started=typed['started'],
            run=folder.name,
            command=shlex.join(['python', *typed['command']]),
        )
        rows.append(row)
    return rows


def rounded(value: float) -> float:
    """Round to the three decimals that the file keeps."""
    return round(float(value), 3)


def collect(folder: Path) -> tuple[list[Row], list[str], list[str]]:
    """Return the rows of all runs below folder, the unfinished runs, and what cannot be read."""
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


def read_summary(path: Path) -> list[Row]:
    """Read a summary, [] if there is none; raise UserError for any other file."""
    if not path.exists():
        return []
    try:
        with path.open(newline='', encoding='utf-8') as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ValueError('other columns')
            return [_row(cells) for cells in reader]
    except (ValueError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f'{path} is damaged or no summary ({error}); '
            'restore it, or move it away to have a new one'
        ) from error


def _row(cells: dict[str, str]) -> Row:
    """Return the row that a line of the CSV holds."""
    settings = {name: _value(FLAGS[name].type, cells[name]) for name in SETTINGS}
    values = {name: _field(name, cells[name]) for name in FIELDS}
    return Row(settings, **values)


def _field(name: str, text: str):
    """Return the value of a field from its text."""
    if name == 'set_means':
        return tuple(map(float, text.split()))
    if name == 'start':
        return float(text) if text else None
    return FIELDS[name](text)


def _value(kind, text: str):
    """Return the value of a flag from its text; empty: the run does not take the flag."""
    return None if text == '' else text == 'True' if kind is bool else kind(text)


def _text(value) -> str:
    if isinstance(value, tuple):
        return ' '.join(f'{part:.3f}' for part in value)
    return '' if value is None else f'{value:.3f}' if isinstance(value, float) else str(value)


def merge_rows(old: list[Row], new: list[Row]) -> list[Row]:
    """Return old and new rows, sorted; a new row replaces the old one of its run and network."""
    rows = {(row.run, row.network): row for row in [*old, *new]}
    order = ('dataset', 'model', 'method', 'ipc', 'draw', 'layer_idx', 'num_cluster')

    def key(row):
        values = [row[name] for name in order]
        return [(value is not None, value) for value in values] + [row.run, row.network]

    return sorted(rows.values(), key=key)


def write_summary(path: Path, rows: list[Row]) -> None:
    """Write a summary."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(COLUMNS)
    writer.writerows([_text(row[name]) for name in COLUMNS] for row in rows)
    write_atomic(path, text.getvalue().encode())
