"""The tables of the study in Markdown: ours beside published values, and how to fill the rest."""

import csv
from pathlib import Path

import numpy as np
from scipy.stats import ttest_ind, ttest_rel

from experiment.result import accuracy_text
from experiment.shelf import spelled
from report.cells import (
    IPCS,
    PLAIN,
    PROTOCOLS,
    STUDY,
    TABLES,
    comparisons,
    ipcs_of,
    is_clustered,
    usual_iterations,
)
from report.gaps import HEADER as GAPS
from report.gaps import gap_texts
from report.markup import code, lines_of
from report.pooling import matching, pooled
from report.summary import Row


def published(path: Path) -> list[dict]:
    """Read the published values: {column: text}, the values as they are printed in the papers."""
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def standard_error(std: float, sets: np.ndarray) -> float:
    """Return the standard error over sets; of one set, for want of better, its networks' std."""
    return float(sets.std(ddof=1) / np.sqrt(len(sets))) if len(sets) > 1 else std


def paper_text(paper: list[dict]) -> str:
    """Return the published value of a cell, or a dash."""
    return (
        f'{paper[0]["mean"]}{" ± " + paper[0]["std"] if paper[0]["std"] else ""}' if paper else '–'
    )


def cell_text(ours: list[Row], paper: list[dict]) -> str:
    """Return `ours ± std, sets x networks (published)`; * marks over two standard errors."""
    if not ours:
        return f'not run ({paper_text(paper)})'
    mean, std, networks, sets = pooled(ours)
    text, mark = accuracy_text(mean, std, networks, 1), ''
    if paper:
        theirs = float(paper[0]['std'] or 0.5) / np.sqrt(5)
        error = np.hypot(standard_error(std, sets), theirs)
        mark = ' *' if abs(mean - float(paper[0]['mean'])) > 2 * error else ''
    return f'**{text}**{mark}, {len(sets)} x {networks // len(sets)} ({paper_text(paper)})'


def paper_of(cell: dict, ipc: int, papers: list[dict], dataset: str) -> list[dict]:
    """Return the published value of a cell in a list, or an empty one."""
    usual = usual_iterations(cell['method'])
    if cell.get('draw') in ('stratified', 'equal') or cell.get('Iteration', usual) != usual:
        return []
    if cell.get('other', '') not in ('', 'feature_net=ConvNet'):
        return []
    known = {key: str(cell.get(key, '')) for key in ('num_cluster', 'layer_idx')}
    known |= {
        'dataset': dataset,
        'ipc': str(ipc),
        'method': spelled(cell['method'], cell.get('draw')),
    }
    return [row for row in papers if all(row[key] == value for key, value in known.items())]


def command_of(cell: dict, ipc: int, study: dict = STUDY) -> str:
    """Return the command line that fills a cell."""
    method, draw = cell['method'], cell.get('draw', 'uniform')
    words = [f'--dataset {study["dataset"]}']
    model = cell.get('model', study['model'])
    words += [f'--model {model}'] if model != STUDY['model'] else []
    if method == 'random':
        return f'python main_eval.py --synset random {" ".join(words)} --ipc {ipc}'
    iterations = cell.get('Iteration', study['Iteration'])
    if iterations != usual_iterations(method):
        words.append(f'--Iteration {iterations}')
    words += [f'--factor {cell["factor"]}'] if 'factor' in cell else []
    if not is_clustered(cell) or method != 'DC':
        words.append(f'--method {method}')
    if 'num_cluster' in cell:
        words += [f'--layer_idx {cell["layer_idx"]}'] if 'layer_idx' in cell else []
        words.append(f'--num_cluster {cell["num_cluster"]}')
    words.append(f'--ipc {ipc}')
    words += [f'--draw {draw}'] if draw not in (None, 'uniform', 'cluster') else []
    words += ['--no-norm'] if cell.get('norm') is False else []
    words += ['--num_exp 1'] if draw is None else []
    words += [f'--{part.replace("=", " ")}' for part in cell.get('other', '').split()]
    usual = PROTOCOLS.get(method, 'dc')
    how = cell.get('protocol', usual)
    words += [f'--protocol {how}'] if how != usual else []
    return f'python {"main_BS.py" if is_clustered(cell) else "main.py"} {" ".join(words)}'


def table(
    title: str, cells: dict[str, dict], rows: list[Row], papers: list[dict], study: dict
) -> str:
    """Return a table of the study, the origin of its cells, and commands of the empty ones."""
    ipcs, texts, origins, missing = ipcs_of(title), [], [], []
    for label, cell in cells.items():
        line = [label]
        for ipc in ipcs:
            ours = matching(rows, PLAIN | study | cell | {'ipc': ipc})
            line.append(cell_text(ours, paper_of(cell, ipc, papers, study['dataset'])))
            origins += [(f'{label}, ipc {ipc}', *origin(row)) for row in ours]
            if not ours:
                missing.append((f'{label}, ipc {ipc}', code(command_of(cell, ipc, study))))
        texts.append(line)
    parts = [f'## {title}', '', *lines_of(('', *(f'ipc {ipc}' for ipc in ipcs)), texts)]
    if origins:
        header = ('run', 'protocol', 'seed', 'precision', 'minutes', 'device', 'commit')
        parts += ['', *lines_of(header, origins)]
    if missing:
        parts += ['', *lines_of(('not run yet', 'command'), missing)]
    return '\n'.join(parts)


def origin(row: Row) -> tuple[str, ...]:
    """Return protocol, seed, precision, minutes, device and commit of a run."""
    return (
        row.how,
        str(row['seed']),
        row['precision'],
        f'{row.minutes:.0f}',
        row.device,
        row.commit,
    )


def pairs_of(first: list[Row], second: list[Row]) -> np.ndarray:
    """Return the mean accuracies of both of every set of the seeds that both have, shape (n, 2).

    Sets of a seed and number start from the same images on a CPU, or on a GPU, which draws other
    numbers. The same networks evaluate both where there are as many.
    """

    def draws(row):
        on_cpu = 'threads' in row.device  # as it is named
        return row['seed'], on_cpu, row.num_networks / len(row.set_means)

    own = {draws(row): row.set_means for row in second}
    found = []
    for row in first:
        found += zip(row.set_means, own.get(draws(row), ()), strict=False)
    return np.array(found).reshape(-1, 2)


def significance(rows: list[Row], study: dict = STUDY) -> list[str]:
    """Return a table of batch sampling against its method: difference, and two tests over sets.

    Welch's test takes all sets. The paired t-test takes those of pairs_of.
    """
    lines = []
    for label, cells in comparisons().items():
        for ipc in IPCS:
            bs, base = (matching(rows, PLAIN | study | cell | {'ipc': ipc}) for cell in cells)
            if not bs or not base:
                continue
            (mean_bs, _, _, sets_bs), (mean, _, _, sets) = pooled(bs), pooled(base)
            pairs, welch, paired = pairs_of(bs, base), 'too few sets', '–'
            if min(len(sets_bs), len(sets)) > 1:
                welch = f'{ttest_ind(sets_bs, sets, equal_var=False).pvalue:.3f}'
            if len(pairs) > 1:
                paired = f'{ttest_rel(*pairs.T).pvalue:.3f} ({len(pairs)})'
            counts = f'{len(sets_bs)}, {len(sets)}'
            lines.append((label, str(ipc), f'{mean_bs - mean:+.2f}', counts, welch, paired))
    if not lines:
        return []
    tests = "p of Welch's test", 'p of the paired test (pairs)'
    return lines_of(('difference', 'ipc', 'points', 'sets of each', *tests), lines)


def all_runs(rows: list[Row]) -> list[str]:
    """Return the table of every finished run, with its command."""
    lines = []
    for row in rows:
        other = f' ({row.other})' if row.other else ''
        iterations = '–' if row['Iteration'] is None else str(row['Iteration'])
        minutes = f'{row.condense_minutes:.1f} + {row.evaluate_minutes:.1f}'
        lines.append(
            (row['dataset'], row.stored, row.label + other, iterations)
            + (row.accuracy, '–' if row.start is None else f'{row.start:.2f}')
            + gap_texts(row, rows)
            + (f'{row.sets_x_networks} {row.network}', row.how, f'{row.images_seen or "–"}')
            + (row['precision'], minutes, f'{row.device}, {row.commit}', code(row.command))
        )
    header = ('data', 'ipc', 'method', 'iterations', 'accuracy, %', 'no steps, %', *GAPS)
    header += ('sets x networks', 'protocol', 'real images a class')
    header += ('precision', 'minutes: condense + evaluate', 'device, commit', 'command')
    return lines_of(header, lines)


HEADER = """# Results

`python main_report.py --out docs/results.md` writes this page.
Every number is of a run. What was found: [log.md](log.md).
How sets are evaluated: [protocol.md](protocol.md).

- A cell is our test accuracy in %, mean ± population standard deviation over networks.
  A single network has no deviation.
- Then come "sets x networks", and the published value in brackets.
- \\* marks a difference of more than two standard errors over sets.
  For a single set the deviation of its networks stands in.
  Published cells count as 5 sets, with deviation 0.5 where none is given.
- An ipc of 1 x 2² means one stored image a class, which holds 2 x 2 tiles.
- "No steps" is the accuracy of the images that a run starts from.
- HLR is the accuracy of all real images minus that of the set, in points. IOR is that of the set
  minus that of random images of the same ipc. [What is compared](protocol.md#hlr-and-ior).
- Real images of a class are counted as often as a step sees them.
- Minutes are of the clock. Other work on the machine, and pauses of a run, are in them.
"""


def results_page(rows: list[Row], papers: list[dict], study: dict = STUDY) -> str:
    """Return docs/results.md: the study's tables, the test of BS against DC, every run."""
    parts = [HEADER, *(table(title, cells, rows, papers, study) for title, cells in TABLES.items())]
    tests = significance(rows, study)
    if tests:
        parts.append('\n'.join(['## Is BS different from DC?', '', *tests]))
    parts.append('\n'.join(['## Every run', '', *all_runs(rows)]))
    return '\n\n'.join(parts).replace('\n\n\n', '\n\n') + '\n'
