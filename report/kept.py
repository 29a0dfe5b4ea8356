"""Runs that are kept for others: to draw their curves again, and to evaluate their sets.

A kept run is its folder with args.json, the result file and log.jsonl.xz: the log with numbers of
five digits, compressed. docs/runs/README.md is the table of its sets.
"""

import json
import lzma
import shutil
from pathlib import Path

from experiment.result import load_result
from storage.files import file_hash, write_atomic
from utils import UserError

DIGITS = 5


def read_log(folder: Path, partial: bool = False) -> list[dict]:
    """Return the records of a run's log, compressed or not.

    partial: leave out half a line at the end, of a run that is being written. Raises OSError or
    ValueError if the log cannot be read.
    """
    path = folder / 'log.jsonl'
    if path.exists() or not path.with_suffix('.jsonl.xz').exists():
        lines = path.read_text().splitlines()
    else:
        try:
            lines = lzma.decompress((folder / 'log.jsonl.xz').read_bytes()).decode().splitlines()
        except lzma.LZMAError as error:
            raise ValueError(str(error)) from error
    if partial and lines and not lines[-1].endswith('}'):
        lines.pop()
    return [json.loads(line) for line in lines]


def shortened(value):
    """Return a record with every number at DIGITS digits."""
    if isinstance(value, dict):
        return {key: shortened(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shortened(part) for part in value]
    return float(f'{value:.{DIGITS}g}') if isinstance(value, float) else value


def keep_run(run: Path, out: Path) -> Path:
    """Copy a finished run into the folder out, its log shortened and compressed."""
    results = sorted(run.glob('res_*.pt'))
    if not results or not (run / 'args.json').is_file():
        raise UserError(f'{run} holds no finished run to keep')
    try:
        # Accuracies are quotients of whole numbers: they stay as they are.
        records = [r if 'accs' in r else shortened(r) for r in read_log(run)]
    except (OSError, ValueError) as error:
        raise UserError(f'{run}: its log cannot be read ({error})') from error
    target = out / run.name
    target.mkdir(parents=True, exist_ok=True)
    lines = ''.join(json.dumps(record) + '\n' for record in records)
    write_atomic(target / 'log.jsonl.xz', lzma.compress(lines.encode(), preset=9))
    for path in (results[0], run / 'args.json'):
        if target.resolve() != run.resolve():  # a kept run may be kept again
            shutil.copyfile(path, target / path.name)
    return target


HEADER = """# Condensed sets, and the logs of the runs that made them

`main_report.py --keep` writes this page. A set is `torch.load(file)['data'][0]`:
normalised images (N, C, H, W) and labels (N,). `mean` and `std` undo the normalisation.
`log.jsonl.xz` holds loss and gradient norms of every iteration. All figures are drawn from it:
`bash runs/figures.sh --results docs/runs`. The accuracy is ± the standard deviation of its
networks; [how a set is evaluated](../protocol.md).

| set | ipc | accuracy, % | sets x networks | protocol | evaluate it | SHA-256 |
|---|---|---|---|---|---|---|
"""


def kept_page(folder: Path, rows: list) -> str:
    """Return the table of the sets below folder; rows: its runs', from report/summary.py."""
    lines = []
    for row in rows:
        (path,) = (folder / row.run).glob('res_*.pt')
        if load_result(path)['args'].get('made_by') is not None:
            continue  # the same set, evaluated again
        others = ''.join(f', {part.replace("=", " ")}' for part in row.other.split())
        clusters = f' (k {row["num_cluster"]}, layer {row["layer_idx"]})' * bool(row['num_cluster'])
        length = f', {row["Iteration"]} iterations' if row['Iteration'] is not None else ''
        name = f'{row.label}{clusters}{others}{length}, seed {row["seed"]}'
        where = f'docs/runs/{row.run}/{path.name}'
        flags = f'--dataset {row["dataset"]} --model {row["model"]}'
        line = f'python main_eval.py {flags} --synset {where}'
        how = f'{row.protocol}, {row.epochs} epochs'
        lines.append(
            f'| [{name}]({row.run}/{path.name}) | {row.stored} | {row.mean:.2f} ± {row.std:.2f} '
            f'| {row.sets_x_networks} {row.network} | {how} | `{line}` | `{file_hash(path)}` |'
        )
    return HEADER + '\n'.join(lines) + '\n'
