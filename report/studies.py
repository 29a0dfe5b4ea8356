"""Studies of applications/: folders of finished networks, and the last table made of each."""

from pathlib import Path

from storage.files import check_file
from utils import UserError, printable

NETWORKS, TABLE = 'networks.json', 'table.txt'
MOST = 2**20  # bytes of a table: a longer file is none


def studies(folder: Path) -> dict[str, list[str]]:
    """Return {study: lines of its command and table} of the studies in a folder, or one below.

    Of a study that is unfinished, or whose table cannot be read, a line says so.
    """
    found = {}
    paths = sorted([*folder.glob(f'*/{NETWORKS}'), *folder.glob(f'*/*/{NETWORKS}')])
    for path in filter(Path.is_file, paths):
        table = path.parent / TABLE
        try:
            check_file(table, 'table')
            if table.stat().st_size > MOST:
                raise ValueError
            lines = table.read_text(encoding='utf-8').splitlines()
            if len(lines) == 1:  # the command alone
                lines.append('unfinished; this command continues it')
        except (UserError, OSError, ValueError):
            why = f'{TABLE} cannot be read' if table.exists() else 'unfinished'
            lines = [f'{why}; the same command continues it']
        name = path.parent.relative_to(folder)
        found[printable(name)] = [printable(line) for line in lines]
    return found
