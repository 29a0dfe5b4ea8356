"""The finished networks of a study, in one file: none of them is ever trained again.

    <save_path>/<name of the study>-<hash of its settings>/networks.json
        {'settings': {flag: value}, 'networks': {key: {'accuracies': [0 … 1], 'seconds': s}}}

The file is written after every network, beside its target, and renamed. So a kill loses the network
that is being trained, and nothing else. Beside it table.txt holds the command, and at the end the
table, for main_report.py.
"""

import hashlib
import json
import os
from pathlib import Path

from report.studies import NETWORKS, TABLE
from storage.files import fcntl, load_json, open_lock, remove_parts, write_atomic
from storage.kinds import check, number, plain, share
from utils import UserError

KIND = {
    'settings': {str: plain},
    'networks': {str: {'accuracies': [share], 'seconds': number}},
}


class Ledger:
    """The networks of a study that are finished; use it in `with`: its folder is locked meanwhile.

    settings: all that decides an accuracy and is not in a key, as JSON has it; other settings have
    another folder. command: the line that continues the study. Raises UserError for a folder that
    cannot be written, or that another process writes, and for a damaged file.
    """

    def __init__(self, save_path: str | Path, name: str, settings: dict, command: str):
        text = json.dumps(settings, sort_keys=True)
        digest = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
        self.folder = Path(save_path) / f'{name}-{digest}'
        self.path, self.settings, self.networks = self.folder / NETWORKS, settings, {}
        self.command = command

    def __enter__(self):
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open_lock(self.folder / 'lock')
        except OSError as error:
            raise UserError(
                f'{self.folder} cannot be written ({error.strerror}); choose another --save_path'
            ) from error
        if fcntl:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._lock.close()
                raise UserError(
                    f'another process writes to {self.folder}; wait for it or stop it'
                ) from error
        remove_parts(self.folder)
        if self.path.exists():
            stored = load_json(self.path, 'list of networks')
            self.networks = check(self.path, 'list of networks', stored, KIND)['networks']
        return self

    def __exit__(self, *exception):
        self._lock.close()

    def add(self, key: str, accuracies: list[float], seconds: float) -> None:
        """Write down a finished network."""
        if not os.path.exists(self.folder):
            raise UserError(f'{self.folder} was moved or removed while this study wrote to it')
        self._keep()  # a table that is there is of fewer networks
        self.networks[key] = {'accuracies': accuracies, 'seconds': seconds}
        content = {'settings': self.settings, 'networks': self.networks}
        write_atomic(self.path, json.dumps(content, indent=1).encode())

    def show(self, table: str) -> None:
        """Print a table of the networks, and keep it."""
        minutes = sum(network['seconds'] for network in self.networks.values()) / 60
        print(f'\n{table}\n{self.path}: {minutes:.1f} minutes of networks')
        self._keep(f'{table}\n')

    def _keep(self, table: str = '') -> None:
        text = f'{self.command}\n{table}'
        write_atomic(self.folder / TABLE, text.encode('utf-8', 'backslashreplace'))

    def __contains__(self, key: str) -> bool:
        return key in self.networks

    def accuracies(self, key: str) -> list[float]:
        """Return the accuracies of a finished network, in [0, 1]."""
        return self.networks[key]['accuracies']
