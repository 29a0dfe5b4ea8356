"""How proxies rank the networks of a search: the table, its CSV, its figure."""

from pathlib import Path

import numpy as np

from applications.correlation import SHARE, correlation_text, subsets
from applications.ledger import Ledger
from applications.training import REAL
from figures.style import plain, plt, save_figure
from report.markup import csv_of
from storage.files import write_atomic
from utils import aligned


def title_of(proxy: str) -> str:
    """Return what a table calls a proxy: its name, or that of its file."""
    return Path(proxy).stem if proxy.endswith('.pt') else proxy


class Ranking:
    """Accuracies of networks by proxies, and on real images.

    tasks: {proxy, REAL included: tasks of each network}, all in the ledger. .real: accuracies (n,)
    in [0, 1]; .proxies: {proxy: accuracies (n,)}; .minutes: {proxy: of training}.
    """

    def __init__(self, ledger: Ledger, names: list[str], tasks: dict):
        self.names = names
        accuracies = {
            kind: np.array(
                [np.mean([ledger.accuracies(task.key)[0] for task in own]) for own in of_kind]
            )
            for kind, of_kind in tasks.items()
        }
        self.minutes = {
            kind: sum(ledger.networks[task.key]['seconds'] for own in of_kind for task in own) / 60
            for kind, of_kind in tasks.items()
        }
        self.real = accuracies.pop(REAL)
        self.proxies = accuracies

    def text(self) -> str:
        """Return the table for the terminal."""
        parts, best = subsets(self.real), self.real.max()
        lines = [('proxy', *parts, 'chosen network', 'accuracy %', 'lost', 'minutes')]
        for name, accuracies in [*self.proxies.items(), (REAL, self.real)]:
            chosen = accuracies.argmax()
            cells = [correlation_text(accuracies, self.real, index) for index in parts.values()]
            if name == REAL:
                cells = ['-'] * len(parts)
            real = 100 * self.real[chosen]
            numbers = f'{real:.1f}', f'{100 * best - real:.1f}', f'{self.minutes[name]:.1f}'
            lines.append((title_of(name), *cells, self.names[chosen], *numbers))
        mean = 100 * self.real.mean()
        lines.append(
            ('no search', *['-'] * len(parts), 'mean of all', f'{mean:.1f}',
             f'{100 * best - mean:.1f}', '-')
        )  # fmt: skip
        note = f"Spearman's rank correlation [{SHARE} % bootstrap interval over networks]"
        return f'{aligned(lines)}\n{note}'

    def write_csv(self, path: Path) -> None:
        """Write a line for each proxy and network; raise UserError if that fails."""
        lines = [('proxy', 'network', 'accuracy', 'accuracy_on_real')]
        for proxy, accuracies in self.proxies.items():
            for name, own, real in zip(self.names, accuracies, self.real, strict=True):
                lines.append((proxy, name, f'{100 * own:.3f}', f'{100 * real:.3f}'))
        write_atomic(path, csv_of(lines))

    def draw(self, out: Path) -> None:
        """Write the figure to out: a point for each network, a panel for each proxy."""
        num = len(self.proxies)
        figure, axes = plt.subplots(
            1, num, figsize=(0.6 + 2.8 * num, 3), sharey=True, squeeze=False, layout='constrained'
        )
        for axis, (name, accuracies) in zip(axes[0], self.proxies.items(), strict=True):
            axis.scatter(100 * accuracies, 100 * self.real, s=14)
            axis.set_title(plain(title_of(name)), fontsize=10)
            axis.set_xlabel('accuracy by the proxy, %')
            axis.spines[['top', 'right']].set_visible(False)
        axes[0, 0].set_ylabel('accuracy on real images, %')
        save_figure(figure, out)
