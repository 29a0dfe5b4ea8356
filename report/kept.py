"""Runs that are kept for others: to draw their curves again, and to evaluate their sets.

A kept run is its folder with args.json, the result file and log.jsonl.xz: the log with numbers of
five digits, compressed. docs/runs/README.md is the table of its sets.
"""

import json
import lzma
import os
import shlex
import shutil
from pathlib import Path
from urllib.parse import quote

from experiment.flags import FLAGS
from experiment.result import load_result
from report.logs import read_log
from report.markup import Markdown, code, escaped, lines_of
from report.summary import Row, result_in, rows_of
from storage.files import check_file, file_hash, write_atomic
from utils import UserError, plural

DIGITS = 5


def rounded(value):
    """Return a record with every number at DIGITS digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f'{value:.{DIGITS}g}') if isinstance(value, float) else value


def kept_files(run: Path, out: Path) -> dict[str, bytes]:
    """Return {name: content} of what is kept of a finished run, {} if out holds it already.

    Raises UserError for a run that cannot be kept in the folder out.
    """
    if not run.is_dir() or not result_in(run) or not rows_of(run):
        raise UserError(f'{run} holds no finished run to keep')
    target, result = out / run.resolve().name, result_in(run)
    # Accuracies are quotients of whole numbers: they stay as they are.
    records = [r if 'accs' in r else rounded(r) for r in read_log(run)]
    lines = ''.join(json.dumps(record) + '\n' for record in records)
    files = {path.name: path.read_bytes() for path in (run / 'args.json', result)}
    files['log.jsonl.xz'] = lzma.compress(lines.encode(), preset=9)
    if not os.path.lexists(target):
        return files
    try:
        for name in files:
            check_file(target / name, 'file of a kept run')
        copied = (result.name, 'args.json')
        same = all((target / name).read_bytes() == files[name] for name in copied)
        same = same and read_log(target) == records
    except UserError:
        same = False
    if not same:
        raise UserError(
            f'{target} is there already, and is not {run}; move it away to keep this run'
        )
    return {}


def keep_run(run: Path, out: Path) -> Path:
    """Copy a finished run into the folder out, its log shortened and compressed."""
    files, target = kept_files(run, out), out / run.resolve().name
    if not files:
        return target
    # The folder gets its name when it is complete. Until then reports pass over it.
    part = out / f'.{target.name}.{os.getpid()}-{os.urandom(3).hex()}.part'
    try:
        part.mkdir(parents=True)
        for name, content in files.items():
            write_atomic(part / name, content)
        os.rename(part, target)
    except OSError as error:
        raise UserError(
            f'{target} cannot be written ({error.strerror}); nothing was copied'
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


HEADER = """# Condensed sets, and the logs of the runs that made them

`main_report.py --keep` writes this page. A set is `torch.load(file)['data'][0]`:
normalised images (N, C, H, W) and labels (N,). `mean` and `std` undo the normalisation.
`log.jsonl.xz` holds the loss of every iteration, and gradient norms of gradient matching.
`bash runs/figures.sh --results docs/runs` draws its figures from it.
The accuracy is ± the standard deviation of its networks; [how a set is evaluated](../protocol.md).

"""
COLUMNS = 'set', 'ipc', 'accuracy, %', 'sets x networks', 'protocol', 'evaluate it', 'SHA-256'


def shorts_of(row: Row) -> list[str]:
    """Return how tables name the clusters of a row: `k 20`, `layer 3`, what it has of both."""
    return [
        f'{FLAGS[name].short} {row[name]}'
        for name in ('num_cluster', 'layer_idx')
        if row[name] is not None
    ]


def kept_page(folder: Path, rows: list) -> str:
    """Return the table of the sets below folder; rows: its runs', from report/summary.py."""
    lines = []
    for row in rows:
        path = result_in(folder / row.run)
        if load_result(path)['args'].get('made_by') is not None:
            continue  # the same set, evaluated again
        others = ''.join(f', {part.replace("=", " ")}' for part in row.other.split())
        clusters = ', '.join(shorts_of(row))
        steps = row['Iteration']
        length = '' if steps is None else f', {plural(steps, "iteration")}'
        name = row.label + (f' ({clusters})' if clusters else '')
        name += f'{others}{length}, seed {row["seed"]}'
        where = f'docs/runs/{row.run}/{path.name}'
        words = ['--dataset', row['dataset'], '--model', row['model'], '--synset', where]
        line = shlex.join(['python', 'main_eval.py', *words])
        link = Markdown(f'[{escaped(name)}]({quote(f"{row.run}/{path.name}", safe="/=")})')
        networks = f'{row.sets_x_networks} {row.network}'
        facts = row.stored, row.accuracy, networks, row.how
        lines.append((link, *facts, code(line), code(file_hash(path))))
    return HEADER + '\n'.join(lines_of(COLUMNS, lines)) + '\n'
