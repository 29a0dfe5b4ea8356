"""A run's folder: results/<run name>/ with args.json, log.jsonl, checkpoint.pt, pictures and the result file.

Every file is written beside its target and renamed, so a kill at any moment leaves the old or the new one.
The log is cut back to the checkpoint on resume, so a resumed run leaves the same log as an uninterrupted one.
"""

import contextlib
import io
import json
import os
import platform
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import torch
import torchvision

from data import Data
from errors import UserError
from live import Live
from storage import fcntl, load, save, write_atomic

# Arguments that may differ between the parts of one run: where things lie, and the words that were typed.
FREE = ('command', 'data_path', 'save_path', 'cluster_path', 'run_name', 'device', 'tensorboard')
CHECKPOINT_SECONDS = 60


def cpu_name() -> str:
    """Return what the system calls its processor."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line for line in lines if line.startswith('model name')).split(':')[1].strip()
    return platform.processor() or platform.machine()


def environment(device: torch.device) -> dict:
    """Return what a number's provenance needs: commit, versions, device."""

    def git(*words):
        done = subprocess.run(['git', *words], cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        commit = git('rev-parse', 'HEAD') + ('+changes' if git('status', '--porcelain', '-uno') else '')
    except OSError:  # no git on this machine
        commit = ''
    name = (
        torch.cuda.get_device_name(device)
        if device.type == 'cuda'
        else f'{cpu_name()}, {torch.get_num_threads()} threads'
    )
    return {
        'commit': commit or 'unknown',
        'python': platform.python_version(),
        'torch': torch.__version__,
        'torchvision': torchvision.__version__,
        'numpy': np.__version__,
        'device': name,
    }


def is_running(folder: Path) -> bool:
    """Tell whether a process is writing the run in folder now (False where files cannot be locked)."""
    if not fcntl:
        return False
    try:
        with open(folder / 'lock') as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def stored(folder: Path) -> dict | None:
    """Return the state in the checkpoint of a run, or None. Raises UserError if it cannot be read."""
    path = folder / 'checkpoint.pt'
    if not path.exists():
        return None
    state = load(path, 'checkpoint')
    if not isinstance(state, dict) or not {'args', 'log_bytes', 'exp'} <= state.keys():
        raise UserError(f'{path} is not a checkpoint of this project; remove it to start anew')
    return state


def check_same(path: Path, stored: dict, args: dict) -> None:
    """Raise UserError unless the arguments stored in path are args. A switch that is missing is off.

    Data sets and sets to judge count by their content, not their path; a set's hash is in the run's name.
    """
    names = {'device_type': 'a device of the kind', 'data_hash': 'data of the hash'}
    for key in sorted((stored.keys() | args.keys()) - {'dataset', 'synset'}):
        old, new = (None if side.get(key) is False else side.get(key) for side in (stored, args))
        if old != new:
            name = names.get(key, f'--{key}')
            raise UserError(
                f'{path} was made with {name} {old}, this command has {name} {new}; '
                'choose another --save_path, or remove the folder to start anew'
            )


class Stopped(SystemExit):
    """SIGINT or SIGTERM arrived, and everything is saved; the exit code is 128 + the signal's number."""


class Run:
    """The folder of one run, locked for this process: what it logs, saves, resumes. Use it in `with`.

    Raises UserError when the folder cannot be written, or another process is writing there.
    """

    def __init__(self, args, data: Data):
        self.folder = Path(args.save_path) / args.run_name
        self.args = json.loads(
            json.dumps({key: value for key, value in vars(args).items() if key not in FREE})
        )
        # Random generators of one kind of device cannot go on on another.
        self.args |= {'device_type': data.device.type, 'data_hash': data.fingerprint}
        self.signal, self.saved_at, self._inside = None, time.monotonic(), False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open(self.folder / 'lock', 'w')  # noqa: SIM115 (held until the process ends)
            self._log = open(self.folder / 'log.jsonl', 'a+b')  # noqa: SIM115
        except OSError as error:
            raise UserError(
                f'{self.folder} cannot be written ({error.strerror}); choose another --save_path'
            ) from error
        if fcntl:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f'another process is writing to {self.folder}; wait for it or stop it'
                ) from error
        self.checkpoint_path = self.folder / 'checkpoint.pt'
        self.live = Live(self.folder) if vars(args).get('tensorboard') else None

    def resume(self) -> dict | None:
        """Return the state to go on from and cut the log back to it, or None for a fresh start.

        Raises UserError if the state is of other arguments or data.
        """
        state = stored(self.folder)
        if state is None:
            self._log.truncate(0)
            return None
        check_same(self.checkpoint_path, state['args'], self.args)
        if self._log.seek(0, os.SEEK_END) > state['log_bytes']:
            self._log.truncate(state['log_bytes'])
        return state

    def describe(self, args, device: torch.device) -> None:
        """Write args.json: every flag as it was typed and derived, and the environment."""
        content = vars(args) | {
            'environment': environment(device),
            'started': time.strftime('%Y-%m-%dT%H:%M:%S'),
        }
        write_atomic(self.folder / 'args.json', json.dumps(content, indent=1, ensure_ascii=False).encode())

    def log(self, record: dict) -> None:
        """Append one line to log.jsonl, and show it where the user wants to see it."""
        if self.live:
            self.live.log(record)
        try:
            self._log.write(json.dumps(record).encode() + b'\n')
            self._log.flush()
        except OSError as error:
            raise UserError(
                f'{self.folder}/log.jsonl cannot be written ({error.strerror}); the last checkpoint is kept: '
                'make room, then give the same command again'
            ) from error

    def due(self) -> bool:
        """Tell whether to pause and checkpoint: a minute has passed, or a signal has arrived."""
        return self.signal is not None or time.monotonic() - self.saved_at > CHECKPOINT_SECONDS

    def checkpoint(self, state: dict) -> None:
        """Save state; then, if a signal has arrived, say how to go on and exit with 128 + its number."""
        save(self.checkpoint_path, state | {'args': self.args, 'log_bytes': self._log.seek(0, os.SEEK_END)})
        self.saved_at = time.monotonic()
        if self.signal is not None:
            print(f'\nstopped and saved in {self.folder}; the same command goes on from here', flush=True)
            raise Stopped(128 + self.signal)

    def __enter__(self):
        """From here SIGINT and SIGTERM ask for a stop at the next checkpoint; a second one stops at once."""

        def handler(number, frame):
            again, self.signal = self.signal is not None, number
            if again or self._inside:
                raise KeyboardInterrupt

        self._handlers = {
            number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *exception):
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.live:
            self.live.close()
        with contextlib.suppress(OSError):  # a full disk, which log() has reported
            self._log.close()
        self._lock.close()

    @contextlib.contextmanager
    def interruptible(self):
        """Within this context a signal breaks off at once: for work that can be done again."""
        self._inside = True
        try:
            with contextlib.suppress(KeyboardInterrupt):
                yield
        finally:
            self._inside = False

    def picture(self, name: str, images: torch.Tensor, per_row: int, state: dict) -> Path:
        """Save images (N, C, H, W) in [0, 1] as a grid, per_row images a row; return its path.

        state holds their `exp` and `iteration`.
        """
        magnified = images.repeat_interleave(max(1, 32 // images.shape[-1]), 2)
        magnified = magnified.repeat_interleave(max(1, 32 // images.shape[-1]), 3)
        grid = torchvision.utils.make_grid(magnified, nrow=per_row)
        if self.live:
            self.live.picture(grid, state)
        buffer = io.BytesIO()
        torchvision.transforms.functional.to_pil_image(grid).save(buffer, 'png')
        write_atomic(self.folder / name, buffer.getbuffer())
        return self.folder / name
