"""summary.csv: the rows of all runs, also of those whose folders are gone.

So the file collects what several machines ran. It is never replaced by less than it holds: what
cannot be read is an error that names the line.
"""

import argparse
import csv
import io
from pathlib import Path

from experiment.flags import FLAGS
from report.markup import csv_of, unquoted
from report.summary import COLUMNS, FIELDS, FILLED, SETTINGS, Row
from storage.files import check_file, write_atomic
from storage.kinds import count, fault, number
from utils import UserError

csv.field_size_limit(2**31 - 1)  # a command of many files is longer than the usual limit


def percent(value) -> bool:
    """Tell whether value is a number from 0 to 100."""
    return number(value) and 0 <= value <= 100


def positive(value) -> bool:
    """Tell whether value is a whole number from 1."""
    return count(value) and value > 0


def since(value) -> bool:
    """Tell whether value is a number from 0."""
    return number(value) and value >= 0


KIND = {
    'epochs': positive,
    'mean': percent,
    'std': percent,
    'set_means': [percent],
    'start?': percent,
    'images_seen': count,
    'num_networks': positive,
    'condense_minutes': since,
    'evaluate_minutes': since,
}


def read_summary(path: Path) -> list[Row]:
    """Read a summary, [] if there is none or it is empty; raise UserError for any other file."""
    if not path.exists():
        return []
    check_file(path, 'summary')
    rows, line = [], 1
    try:
        text = path.read_bytes().decode()
        reader = csv.reader(io.StringIO(text, newline=''), strict=True)
        for line, cells in _numbered(reader):
            if line == 1 and tuple(cells) != COLUMNS:
                raise ValueError('its columns are others')
            if line > 1:
                rows.append(_row(cells))
        if text and not text.endswith('\n'):
            raise ValueError('the file is cut off within this line')
    except UnicodeDecodeError as error:
        line, reason = error.object[: error.start].count(b'\n') + 1, 'it is not UTF-8'
        raise _wrong(path, line, reason) from error
    except csv.Error as error:
        raise _wrong(path, reader.line_num, error) from error
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise _wrong(path, line, error) from error
    return rows


def _numbered(reader):
    """Yield the number of the line on which each row begins, and its cells."""
    line = 1
    for cells in reader:
        yield line, cells
        line = reader.line_num + 1


def _wrong(path, line, reason):
    return UserError(
        f'{path}, line {line}: {reason}; mend the line or restore the file, or move it away to '
        'have a new one'
    )


def _row(cells: list[str]) -> Row:
    """Return the row that a line of the CSV holds; raise ValueError for a wrong cell."""
    if len(cells) != len(COLUMNS):
        raise ValueError(f'{len(cells)} cells, there are {len(COLUMNS)} columns')
    texts = dict(zip(COLUMNS, map(unquoted, cells), strict=True))
    empty = [name for name in COLUMNS if name in FILLED and not texts[name]]
    if empty:
        raise ValueError(f'{empty[0]} is empty')
    settings = {name: _read(name, texts[name], _value) for name in SETTINGS}
    values = {name: _read(name, texts[name], _field) for name in FIELDS}
    wrong = fault(values, KIND)
    if wrong or not values['set_means'] or values['num_networks'] % len(values['set_means']):
        raise ValueError(f'{wrong or "num_networks"} makes no sense')
    return Row(settings, **values)


def _read(name, text, convert):
    try:
        return convert(name, text)
    except (ValueError, argparse.ArgumentTypeError) as error:
        raise ValueError(f'{name} is {text[:40]!r}, which it cannot be') from error


def _field(name: str, text: str):
    """Return the value of a field from its text."""
    if name == 'set_means':
        return tuple(map(float, text.split()))
    if name == 'start':
        return float(text) if text else None
    return FIELDS[name](text)


def _value(name: str, text: str):
    """Return the value of a flag from its text; empty: the run does not take the flag."""
    kind = FLAGS[name].type
    if text == '':
        return None
    if kind is bool and text not in ('True', 'False'):
        raise ValueError('neither True nor False')
    return text == 'True' if kind is bool else kind(text)


def _text(value) -> str:
    if isinstance(value, tuple):
        return ' '.join(f'{part:.3f}' for part in value)
    return '' if value is None else f'{value:.3f}' if isinstance(value, float) else str(value)


def write_summary(path: Path, rows: list[Row]) -> None:
    """Write a summary."""
    lines = ([_text(row[name]) for name in COLUMNS] for row in rows)
    write_atomic(path, csv_of([COLUMNS, *lines]))
