"""Sets by the networks that judged them: the table of main_eval.py and of figures/heatmap.py."""

import csv
import io
from pathlib import Path

import numpy as np

from report.text import aligned
from storage import label_of, load_result, write_atomic

# Arguments that make no other experiment of a set, or are in the name of its row.
COMMON = (
    'dataset', 'seed', 'num_exp', 'num_eval', 'eval_every', 'eval_mode', 'epoch_eval_train', 'protocol',
    'device_type', 'data_hash', 'compile', 'precision', 'method', 'ipc',
)  # fmt: skip


def experiment_of(args: dict) -> dict[str, str]:
    """Return the arguments that make a set another experiment, as text."""
    return {key: str(value) for key, value in args.items() if key not in COMMON}


def differing(settings: dict[str, str], others: list[dict[str, str]]) -> str:
    """Return ', flag value' for each of the settings that not all others share."""
    return ''.join(
        f', {key} {value}'
        for key, value in settings.items()
        if any(other.get(key) != value for other in others)
    )


class NetworksTable:
    """Accuracies of sets (rows) by judging networks (columns), from result files.

    Files of one experiment share a row, whichever networks judged them; names tell experiments apart.
    .names, .networks: what rows and columns are called; .means, .stds: in %, (rows, columns), nan where a set
    was not judged by a network; .counts: how many networks.
    """

    def __init__(self, files: list[Path]):
        rows, names = {}, {}
        for path in dict.fromkeys(path.resolve() for path in files):
            result = load_result(path)
            args = result.get('args', {})
            made_by = args.get('made_by') or args
            name = f'{label_of(made_by)}, {args.get("ipc", "?")} per class, {args.get("protocol") or "dc"}'
            key = name, tuple(sorted(experiment_of(made_by).items()))
            names.setdefault(name, []).append(dict(key[1]))
            row = rows.setdefault(key, {})
            for network, values in result.get('accs_all_exps', {}).items():
                row.setdefault(network, []).extend(values)
        self.names = [name + differing(dict(settings), names[name]) for name, settings in rows]
        self.networks = list(dict.fromkeys(network for row in rows.values() for network in row))
        cells = [[100 * np.array(row.get(network, [])) for network in self.networks] for row in rows.values()]
        self.counts = np.array([[len(cell) for cell in line] for line in cells])
        self.means, self.stds = (
            np.array([[f(cell) if len(cell) else np.nan for cell in line] for line in cells])
            for f in (np.mean, np.std)
        )

    def text(self) -> str:
        """Return the table for the terminal."""
        lines = [('accuracy %', *self.networks)]
        for name, means, stds in zip(self.names, self.means, self.stds, strict=True):
            cells = zip(means, stds, strict=True)
            lines.append(
                (name, *('-' if np.isnan(mean) else f'{mean:.1f} ± {std:.1f}' for mean, std in cells))
            )
        return aligned(lines)

    def write_csv(self, path: Path) -> None:
        """Write one line a set and network. Raises UserError if that fails."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(('set', 'network', 'mean', 'std', 'num_networks'))
        for (row, column), mean in np.ndenumerate(self.means):
            if not np.isnan(mean):
                std = f'{self.stds[row, column]:.3f}'
                number = self.counts[row, column]
                writer.writerow((self.names[row], self.networks[column], f'{mean:.3f}', std, number))
        write_atomic(path, text.getvalue().encode())
