"""Tables as text that names cannot break: cells of Markdown, and of CSV files."""

import csv
import io
import re
from collections.abc import Iterable

from utils import printable

# A spreadsheet takes a text that begins so for a formula. The apostrophe tells it not to, and a
# text that begins with one gets another, so that it can be taken off again.
NUMBER = re.compile(r'[+-]?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?')
FORMULA = ('=', '+', '-', '@', '\t', '\r', "'")
# As numbers: what stands for a character of Markdown in its place breaks no cell.
ENTITIES = {ord(character): f'&#{ord(character)};' for character in '\\|<>`[]&'}


class Markdown(str):
    """Text that is Markdown already: our own words, and names that were escaped."""


def escaped(text: str) -> Markdown:
    """Return text as it stands in a cell: no sign of it is markup, or ends the cell or line."""
    if isinstance(text, Markdown):
        return text
    return Markdown(printable(text.replace('\n', ' ')).translate(ENTITIES))


def code(text: str) -> Markdown:
    """Return text as code within a cell."""
    text = printable(text.replace('\n', ' '))
    if not set(text) & set('|`'):
        return Markdown(f'`{text}`')
    # Between backticks a bar cannot be escaped in every case.
    plain = (c if c.isalnum() or c in ' -./=' else f'&#{ord(c)};' for c in text)
    return Markdown(f'<code>{"".join(plain)}</code>')


def lines_of(header: tuple[str, ...], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a Markdown table; header: our own words."""
    rule = '|' + '---|' * len(header)
    lines = (f'| {" | ".join(map(escaped, row))} |' for row in rows)
    return [f'| {" | ".join(header)} |', rule, *lines]


def csv_of(rows: Iterable[Iterable]) -> bytes:
    """Return rows as the content of a CSV file, in which no text is a formula."""
    text = io.StringIO(newline='')
    writer = csv.writer(text, lineterminator='\n')
    writer.writerows([_quoted(cell) for cell in row] for row in rows)
    # Names of files may hold bytes that are no UTF-8.
    return text.getvalue().encode('utf-8', 'backslashreplace')


def _quoted(cell):
    text = str(cell)
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def unquoted(cell: str) -> str:
    """Return the text that csv_of wrote as this cell."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell
