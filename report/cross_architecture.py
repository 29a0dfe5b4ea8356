"""Sets by their evaluation networks: the table of main_eval.py and of figures/heatmap.py."""

from pathlib import Path

import numpy as np

from dataset.names import name_of
from evaluation.protocol import protocol_of
from experiment.result import accuracy_text, differing, experiment_of, label_of, load_result
from report.markup import csv_of
from storage.files import write_atomic
from utils import aligned


class NetworksTable:
    """Accuracies of sets (rows) by evaluation networks (columns), from result files.

    Files of one experiment share a row, whichever networks evaluated them. Names tell experiments
    apart. .names, .networks: what rows and columns are called; .means, .stds: in %, (rows,
    columns), nan where a network did not evaluate a set; .counts: how many networks.
    """

    def __init__(self, files: list[Path]):
        rows, names = {}, {}
        for path in dict.fromkeys(path.resolve() for path in files):
            result = load_result(path)
            args = result['args']
            made_by = args.get('made_by')  # None: the file of a run, not of an evaluation
            name = f'{label_of(args)}, {args.get("ipc") or "?"} per class, {protocol_of(args)}'
            settings = {key: str(value) for key, value in experiment_of(made_by or args).items()}
            settings['dataset'] = name_of(args.get('dataset') or '?')
            # Of a set of another project only its file tells what it is.
            foreign = made_by is not None and 'data_hash' not in made_by
            key = name, tuple(settings.items()), args.get('synset') if foreign else None
            names.setdefault(name, []).append(dict(key[1]))
            row = rows.setdefault(key, {})
            for network, values in result['accs_all_exps'].items():
                row.setdefault(network, []).extend(values)
        self.names = [name + differing(dict(settings), names[name]) for name, settings, _ in rows]
        self.networks = list(dict.fromkeys(network for row in rows.values() for network in row))
        cells = [
            [100 * np.array(row.get(network, [])) for network in self.networks]
            for row in rows.values()
        ]
        self.counts = np.array([[len(cell) for cell in line] for line in cells])
        self.means, self.stds = (
            np.array([[f(cell) if len(cell) else np.nan for cell in line] for line in cells])
            for f in (np.mean, np.std)
        )

    def text(self) -> str:
        """Return the table for the terminal."""
        lines = [('accuracy %', *self.networks)]
        for name, *numbers in zip(self.names, self.means, self.stds, self.counts, strict=True):
            cells = zip(*numbers, strict=True)
            lines.append((name, *(accuracy_text(*cell, 1) if cell[-1] else '-' for cell in cells)))
        return aligned(lines)

    def write_csv(self, path: Path) -> None:
        """Write one line a set and network; raise UserError if that fails."""
        rows = [('set', 'network', 'mean', 'std', 'num_networks')]
        for (row, column), mean in np.ndenumerate(self.means):
            if not np.isnan(mean):
                numbers = f'{mean:.3f}', f'{self.stds[row, column]:.3f}', self.counts[row, column]
                rows.append((self.names[row], self.networks[column], *numbers))
        write_atomic(path, csv_of(rows))
