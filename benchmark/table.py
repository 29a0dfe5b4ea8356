"""Rows of a measurement: as aligned text, and as CSV with the facts of the machine."""

import csv
import io
from pathlib import Path

from storage.files import write_atomic
from utils import aligned


def text_of(columns: tuple[str, ...], rows: list[dict]) -> str:
    """Return rows as aligned text, numbers with three digits."""
    cells = [columns]
    for row in rows:
        values = [row.get(column, '') for column in columns]
        cells.append(
            [f'{value:.3g}' if isinstance(value, float) else str(value) for value in values]
        )
    return aligned(cells)


def write_csv(path: Path, columns: tuple[str, ...], rows: list[dict], facts: dict) -> None:
    """Write rows to path, every one with the facts of the machine and the versions."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*columns, *facts])
    writer.writeheader()
    writer.writerows(row | facts for row in rows)
    write_atomic(path, text.getvalue().encode())
