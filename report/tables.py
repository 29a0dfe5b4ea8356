"""The tables of the study in Markdown: ours beside the published value, and commands for what is not run."""

import csv
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind

from report.cells import IPCS, PLAIN, STUDY, TABLES, comparisons, ipcs_of, usual_iterations


def published(path: Path) -> list[dict]:
    """Read the published values."""
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def matching(rows: list[dict], cell: dict) -> list[dict]:
    """Return the rows that have every value of cell; of runs that differ in precision alone, the first."""
    rows = [row for row in rows if all(row[key] == value for key, value in cell.items())]
    by_seed = {row.get('seed'): row for row in reversed(rows)}
    return list(reversed(by_seed.values()))


def pooled(rows: list[dict]) -> tuple[float, float, int, np.ndarray]:
    """Return mean and population std over all networks of rows, their number, and the means of all sets."""
    counts, means, stds = (
        np.array([float(row[key]) for row in rows]) for key in ('num_networks', 'mean', 'std')
    )
    mean = np.average(means, weights=counts)
    std = np.sqrt(np.average(stds**2 + (means - mean) ** 2, weights=counts))
    sets = np.array([float(value) for row in rows for value in row['set_means'].split()])
    return float(mean), float(std), int(counts.sum()), sets


def standard_error(std: float, sets: np.ndarray) -> float:
    """Return that of the mean over sets; with one set, for want of better, the std over its networks."""
    return float(sets.std(ddof=1) / np.sqrt(len(sets))) if len(sets) > 1 else std


def cell_text(ours: list[dict], paper: list[dict]) -> str:
    """Return `ours ± std, sets x networks (published)`, with * if they differ by over two standard errors."""
    theirs = f'{paper[0]["mean"]}{" ± " + paper[0]["std"] if paper[0]["std"] else ""}' if paper else '–'
    if not ours:
        return f'not run ({theirs})'
    mean, std, networks, sets = pooled(ours)
    text, mark = f'{mean:.1f} ± {std:.1f}', ''
    if paper:
        error = np.hypot(standard_error(std, sets), float(paper[0]['std'] or 0.5) / np.sqrt(5))
        mark = ' *' if abs(mean - float(paper[0]['mean'])) > 2 * error else ''
    return f'**{text}**{mark}, {len(sets)} x {networks // len(sets)} ({theirs})'


def paper_of(cell: dict, ipc: str, papers: list[dict], dataset: str) -> list[dict]:
    """Return the published value of a cell in a list, or an empty one."""
    usual = usual_iterations(cell['method'])
    if cell.get('draw') == 'stratified' or cell.get('equal_batch') or cell.get('Iteration', usual) != usual:
        return []
    if cell.get('other', '') not in ('', 'feature_net=ConvNet'):
        return []
    keys = ('method', 'num_cluster', 'layer_idx')
    known = {key: cell.get(key, '') for key in keys} | {'dataset': dataset, 'ipc': ipc}
    return matching(papers, known)


def command_of(cell: dict, ipc: str, study: dict = STUDY) -> str:
    """Return the command line that fills a cell."""
    data = f'--dataset {study["dataset"]}'
    model = cell.get('model', study['model'])
    data += f' --model {model}' if model != STUDY['model'] else ''
    if cell['method'] == 'random':
        return f'python main_eval.py --synset random {data} --ipc {ipc}'
    other = ''.join(f' --{part}'.replace('=', ' ') for part in cell.get('other', '').split())
    if cell.get('Iteration') == '0':
        return f'python main.py {data} --method {cell["method"]} --ipc {ipc} --num_exp 1{other}'
    iterations = cell.get('Iteration', study['Iteration'])
    if iterations != usual_iterations(cell['method']):
        data += f' --Iteration {iterations}'
    if not cell['method'].startswith('BS'):
        if cell.get('equal_batch'):
            other += f' --equal_batch --layer_idx {cell["layer_idx"]} --num_cluster {cell["num_cluster"]}'
        return f'python main.py {data} --method {cell["method"]} --ipc {ipc}{other}'
    line = f'python main_BS.py {data} --layer_idx {cell["layer_idx"]}'
    line += f' --num_cluster {cell["num_cluster"]} --ipc {ipc}'
    line += ' --method DSA' if cell['method'] == 'BS-DSA' else ''
    return line + (f' --draw {cell["draw"]}' if cell['draw'] != 'cluster' else '')


def origin(row: dict) -> str:
    """Return protocol, precision, minutes, device and commit of a run."""
    minutes = float(row['condense_minutes']) + float(row['judge_minutes'])
    how = f'protocol {row["protocol"]}, {row["epochs"]} epochs, seed {row["seed"]}, {row["precision"]}'
    return f'{how}, {minutes:.0f} minutes on {row["device"]}, commit {row["commit"]}'


def table(title: str, cells: dict[str, dict], rows: list[dict], papers: list[dict], study: dict) -> str:
    """Return one table of the study, where its cells come from, and the commands of those that are empty."""
    ipcs = ipcs_of(title)
    lines = [f'## {title}', '', f'| | ipc {" | ipc ".join(ipcs)} |', '|---' * (1 + len(ipcs)) + '|']
    origins, missing = [], []
    for label, cell in cells.items():
        texts = []
        for ipc in ipcs:
            ours = matching(rows, PLAIN | study | cell | {'ipc': ipc})
            texts.append(cell_text(ours, paper_of(cell, ipc, papers, study['dataset'])))
            origins += [f'- {label}, ipc {ipc}: {origin(row)}' for row in ours]
            if not ours:
                missing.append(command_of(cell, ipc, study))
        lines.append(f'| {label} | {" | ".join(texts)} |')
    lines += ['', *origins] if origins else []
    if missing:
        lines += ['', 'Not run yet:', '```', *missing, '```']
    return '\n'.join(lines)


def significance(rows: list[dict], study: dict = STUDY) -> list[str]:
    """Return lines on batch sampling against its method: difference, Welch's test over the means of sets."""
    lines = []
    for label, cells in comparisons().items():
        for ipc in IPCS:
            bs, base = (matching(rows, PLAIN | study | cell | {'ipc': ipc}) for cell in cells)
            if not bs or not base:
                continue
            (mean_bs, _, _, sets_bs), (mean, _, _, sets) = pooled(bs), pooled(base)
            line = f'- ipc {ipc}: {label} = {mean_bs - mean:+.2f} points'
            if min(len(sets_bs), len(sets)) > 1:
                p_value = ttest_ind(sets_bs, sets, equal_var=False).pvalue
                line += f", Welch's test over {len(sets_bs)} and {len(sets)} sets: p = {p_value:.3f}"
            else:
                line += f'; {len(sets_bs)} and {len(sets)} sets are too few for a test'
            lines.append(line)
    return lines


def all_runs(rows: list[dict]) -> str:
    """Return the table of every finished run, and their commands."""
    lines = [
        '| data | ipc | method | iterations | accuracy | sets x networks | protocol | precision '
        '| minutes: condense + judge | device, commit |',
        '|---' * 10 + '|',
    ]
    for row in rows:
        sets = len(row['set_means'].split())
        other = f' ({row["other"]})' if row['other'] else ''
        lines.append(
            f'| {row["dataset"]} | {row["ipc"]} | {row["label"]}{other} '
            f'| {row["Iteration"] or "–"} '
            f'| {float(row["mean"]):.2f} ± {float(row["std"]):.2f} '
            f'| {sets} x {int(row["num_networks"]) // sets} {row["network"]} '
            f'| {row["protocol"]}, {row["epochs"]} epochs | {row["precision"]} '
            f'| {float(row["condense_minutes"]):.1f} + {float(row["judge_minutes"]):.1f} '
            f'| {row["device"]}, {row["commit"]} |'
        )
    commands = dict.fromkeys(row['command'] for row in rows)
    return '\n'.join([*lines, '', '```', *commands, '```'])


MARKS = '<!-- numbers, by main_report.py -->', '<!-- end of numbers -->'


def with_numbers(text: str, rows: list[dict], papers: list[dict]) -> str:
    """Return the README `text` with table 1 between its two MARKS. Raises ValueError if it lacks them."""
    before, rest = text.split(MARKS[0])
    after = rest.split(MARKS[1])[1]
    title = 'Table 1: methods'
    lines = table(title, TABLES[title], rows, papers, STUDY).splitlines()
    lines = [line for line in lines if line.startswith('|')]
    return '\n'.join([before + MARKS[0], *lines, MARKS[1] + after])


HEADER = """# Results

Written by `python main_report.py --out docs/results.md` from `results/summary.csv`; every number is of a run.
Test accuracy in %, mean ± population standard deviation over networks, "sets x networks"; in brackets the
published value. * marks a difference of more than two standard errors (over sets; with a single set, the
deviation of its networks stands in; published cells count as 5 sets, of deviation 0.5 where none is
given). Protocol `dc`: 300 epochs without augmentation; `dsa`: 1000 epochs with
the DSA strategy; always the last epoch. Minutes are those of the clock: other work on the machine, and
times in which a run was suspended, are in them. What was found: [log.md](log.md).
"""


def results_page(rows: list[dict], papers: list[dict], study: dict = STUDY) -> str:
    """Return docs/results.md: the tables of the study, the test of BS against DC, every run."""
    parts = [HEADER, *(table(title, cells, rows, papers, study) for title, cells in TABLES.items())]
    tests = significance(rows, study)
    if tests:
        parts.append('\n'.join(['## Is BS different from DC?', '', *tests]))
    return '\n\n'.join([*parts, '## Every run', all_runs(rows)]).replace('\n\n\n', '\n\n') + '\n'
