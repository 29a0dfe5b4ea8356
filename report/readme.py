"""The numbers of the READMEs: main_report.py --readme writes them between two marks."""

from dataclasses import dataclass
from pathlib import Path

from experiment.result import accuracy_text
from report.cells import IPCS, METHODS_TABLE, PLAIN, STUDY, TABLES, TEN, TIME
from report.markup import Markdown, lines_of
from report.pooling import matching, pooled
from report.summary import Row
from report.tables import cell_text, paper_of, paper_text
from storage.files import check_file, check_writable
from utils import UserError


@dataclass(frozen=True)
class Line:
    """A line of the first table: its name, and the cell of which table and ipc it shows."""

    name: str
    title: str
    label: str
    ipc: int = 1


FIRST = (
    Line('random images', METHODS_TABLE, 'random real images'),
    Line('BS', METHODS_TABLE, 'BS (k 20, layer 3)'),
    Line('DC', METHODS_TABLE, 'DC'),
    Line('BPTT, `--recipe fast`', TIME, 'BPTT (--recipe fast)'),
    Line('K-Means centres, no step', TIME, 'K-Means centres on 2 x 2 tiles, no step'),
    Line('DC, `--recipe fast`', TIME, '40 iterations on 2 x 2 tiles (--recipe fast)'),
    Line('IDC, `--recipe fast`', TIME, 'IDC, 7 networks x 10 steps (--recipe fast)'),
    Line('CAFE, `--recipe tiles`', TIME, 'CAFE, 1000 networks x 1 step (--recipe tiles)'),
    Line('random images', METHODS_TABLE, 'random real images', 10),
    Line('DC, `--recipe fast`', TEN, 'DC (--recipe fast)', 10),
    Line('IDM, `--recipe fast`', TEN, 'IDM (--recipe fast)', 10),
    Line('DM, `--recipe tiles`', TEN, 'DM on 2 x 2 tiles (--recipe tiles)', 10),
    Line('CAFE, `--recipe tiles`', TEN, 'CAFE on 2 x 2 tiles (--recipe tiles)', 10),
)
MARKS = {
    'first': ('<!-- first table, by main_report.py -->', '<!-- end of first table -->'),
    'study': ('<!-- table 1, by main_report.py -->', '<!-- end of table 1 -->'),
}


def first_table(rows: list[Row], papers: list[dict], words: tuple[str, ...]) -> list[str]:
    """Return method, images per class, accuracy, published value and minutes of what has run."""
    lines = []
    for line in FIRST:
        cell = TABLES[line.title][line.label]
        ours = matching(rows, PLAIN | STUDY | cell | {'ipc': line.ipc})
        if ours:
            mean, std, networks, sets = pooled(ours)
            minutes = sum(row.condense_minutes for row in ours) / len(sets)  # of one set
            paper = paper_text(paper_of(cell, line.ipc, papers, STUDY['dataset']))
            accuracy = accuracy_text(mean, std, networks, 1)
            texts = (f'**{accuracy}**', paper, _minutes(minutes))
            lines.append((Markdown(line.name), ours[0].stored, *texts))
    return lines_of(words, lines)


def _minutes(minutes: float) -> str:
    return '–' if not minutes else f'{minutes:.1f}' if minutes < 5 else f'{minutes:.0f}'


def study_table(rows: list[Row], papers: list[dict]) -> list[str]:
    """Return table 1 of the study."""
    lines = []
    for label, cell in TABLES[METHODS_TABLE].items():
        cells = [(PLAIN | STUDY | cell | {'ipc': ipc}, ipc) for ipc in IPCS]
        texts = [
            cell_text(matching(rows, whole), paper_of(cell, ipc, papers, STUDY['dataset']))
            for whole, ipc in cells
        ]
        lines.append((label, *texts))
    return lines_of(('', *(f'ipc {ipc}' for ipc in IPCS)), lines)


def has_marks(text: str) -> bool:
    """Tell whether a README has each mark once, in order, and a header within the first pair."""
    places = [text.find(mark) for marks in MARKS.values() for mark in marks]
    once = all(text.count(mark) == 1 for marks in MARKS.values() for mark in marks)
    return once and places == sorted(places) and '|' in text[places[0] : places[1]]


def read_readme(path: Path) -> str:
    """Return a README; raise UserError unless it has the marks, and can be written."""
    check_file(path, 'README')
    check_writable(path, '--readme')
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise UserError(f'--readme {path} is not UTF-8 ({error}); save it as UTF-8') from error
    if not has_marks(text):
        marks = ', '.join(mark for pair in MARKS.values() for mark in pair)
        raise UserError(f'--readme {path} must hold each of these lines once, in order: {marks}')
    return text


def with_numbers(text: str, rows: list[Row], papers: list[dict]) -> str:
    """Return a README with its tables; the header of the first one stays in its language."""
    for name, (begin, end) in MARKS.items():
        before, rest = text.split(begin)
        old, after = rest.split(end)
        if name == 'first':
            header = old.strip().splitlines()[0].strip('| ')
            lines = first_table(rows, papers, tuple(part.strip() for part in header.split('|')))
        else:
            lines = study_table(rows, papers)
        text = '\n'.join([before + begin, *lines, end + after])
    return text
