"""A run's folder results/<run name>/: args.json, log.jsonl, checkpoint.pt, pictures, the result.

Beside them end_exp<n>.pt keeps the method at the end of a set, for a longer run (go_on.py).

Every file is written beside its target and renamed: a kill at any moment leaves the old or the new
one. On resume the log is cut back to the checkpoint, so a resumed run leaves the log of an
uninterrupted one.
"""

import contextlib
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

from dataset.data import Data
from dataset.pictures import png_bytes, tile
from experiment.checkpoint import (
    FORMAT,
    check_same,
    check_within,
    load_checkpoint,
    progress_of,
)
from experiment.environment import environment
from experiment.flags import flags_of_kinds
from experiment.progress import Progress
from experiment.tensorboard import TensorBoard
from processes import ranks
from storage.files import NO_LINK, fcntl, open_lock, remove_parts, save_tensors, write_atomic
from utils import Interrupted, UserError, handling

# Arguments that may differ between the parts of one run: places, and the words that were typed.
FREE = (*flags_of_kinds('place', 'shorthand'), 'command', 'run_name', 'csv')
CHECKPOINT_SECONDS = 60


def is_running(folder: Path) -> bool:
    """Tell whether a process writes the run in folder now (False where files cannot be locked)."""
    if not fcntl:
        return False
    # A lock that can be shared is held by nobody.
    try:
        with open_lock(folder / 'lock', 'r') as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


class Stopped(SystemExit):
    """A signal arrived and all is saved; the exit code is 128 + the signal's number."""


class Run:
    """The folder of one run, locked for this process: it logs, saves, resumes.

    Use it in `with`; clusters: the fingerprint of those that batches are drawn from. Of several
    ranks the first alone writes. Raises UserError when the folder cannot be written, another
    process writes there, or ranks have different arguments.
    """

    def __init__(self, args, data: Data, clusters: str | None = None):
        self.folder = Path(args.save_path) / args.run_name
        kept = {key: value for key, value in vars(args).items() if key not in FREE}
        self.args = json.loads(json.dumps(kept))  # as they come back from a file: lists, no tuples
        # Random generators of one kind of device cannot continue on another.
        self.args |= {'device_type': data.device.type, 'data_hash': data.fingerprint}
        self.args |= {'clusters_hash': clusters} if clusters else {}
        ranks.check_same('arguments', {k: v for k, v in self.args.items() if k != 'changed'})
        # The signal that arrived, when the last checkpoint was written, within interruptible().
        self.signal, self.saved_at, self._inside = None, time.monotonic(), False
        # Both files stay open: the lock is the process's, and the log is only appended to.
        lock, log = Path(os.devnull), Path(os.devnull)
        if ranks.leads():
            lock, log = self.folder / 'lock', self.folder / 'log.jsonl'
        try:
            if ranks.leads():
                self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = open_lock(lock)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK
            self._log = os.fdopen(os.open(log, flags, 0o666), 'a+b')
        except OSError as error:
            raise UserError(
                f'{self.folder} cannot be written ({error.strerror}); choose another --save_path'
            ) from error
        # Two writers would mix their logs and checkpoints.
        if fcntl and ranks.leads():
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise UserError(
                    f'another process writes to {self.folder}; wait for it or stop it'
                ) from error
        self.checkpoint_path = self.folder / 'checkpoint.pt'
        if ranks.leads():
            remove_parts(self.folder)
        shown = vars(args).get('tensorboard') and ranks.leads()
        self.tensorboard = TensorBoard(self.folder) if shown else None

    def resume(self) -> Progress | None:
        """Return where the run stands and cut its log back to there, None for a fresh start.

        Raises UserError if the checkpoint is of other arguments or data.
        """
        # Without a checkpoint the log of a killed run is worth nothing: nothing can continue it.
        state = ranks.from_first(ranks.leads() and load_checkpoint(self.checkpoint_path))
        if not state:
            if ranks.leads():
                self._log.truncate(0)
            return None
        check_same(self.checkpoint_path, state['args'], self.args)
        progress = progress_of(state)
        check_within(self.checkpoint_path, progress, self.args)
        # What was logged after the checkpoint will be computed, and logged, once more.
        if ranks.leads():
            self._log.seek(0)
            lines, end, _ = self._log.read(state['log_bytes']).rpartition(b'\n')
            kept = len(lines + end)  # half a line, as a crash of the machine leaves it, is none
            self._log.truncate(kept)
            if kept < state['log_bytes']:
                print(f'{self.folder}/log.jsonl lacks its last {state["log_bytes"] - kept} bytes: '
                      'its curves have a gap, the set does not change')  # fmt: skip
        return progress

    def describe(self, args, device: torch.device) -> None:
        """Write args.json: every flag as it was typed and derived, and the environment."""
        if not ranks.leads():
            return
        started = time.strftime('%Y-%m-%dT%H:%M:%S')
        content = vars(args) | {'environment': environment(device), 'started': started}
        text = json.dumps(content, indent=1)
        write_atomic(self.folder / 'args.json', text.encode())

    def log(self, record: dict) -> None:
        """Append one line to log.jsonl, and show it where the user wants to see it."""
        if self.tensorboard:
            self.tensorboard.log(record)
        # Flushed at once: a person may follow the log while it is written.
        try:
            self._log.write(json.dumps(record).encode() + b'\n')
            self._log.flush()
        except OSError as error:
            raise UserError(
                f'{self.folder}/log.jsonl cannot be written ({error.strerror}); '
                'the last checkpoint is kept: make room, then give the same command again'
            ) from error

    def due(self) -> bool:
        """Tell whether to pause and checkpoint: a minute has passed, or a signal has arrived."""
        # Ranks agree, for each of them asks at the same points of its work.
        late = time.monotonic() - self.saved_at > CHECKPOINT_SECONDS
        return ranks.largest(self.signal is not None or late) > 0

    def checkpoint(self, progress: Progress) -> None:
        """Save progress; after a signal say how to continue and exit with 128 + its number."""
        # A signal to one rank stops all of them.
        stop = ranks.largest(self.signal or 0)
        # How much of the log belongs to this checkpoint: resume() cuts it there.
        log_bytes = self._log.seek(0, os.SEEK_END)
        state = {'format': FORMAT, 'args': self.args, 'log_bytes': log_bytes}
        state['progress'] = vars(progress)  # not dataclasses.asdict: it would copy every tensor
        if ranks.leads():
            self.check_own()
            save_tensors(self.checkpoint_path, state)
        self.saved_at = time.monotonic()

        # Only now is it safe to stop: a rank that ends has torchrun end the others.
        if stop:
            ranks.wait()
            print(
                f'\nstopped and saved in {self.folder}; the same command continues from here',
                flush=True,
            )
            raise Stopped(128 + stop)

    def check_own(self) -> None:
        """Raise UserError if this run's folder was taken away, or is another process's by now."""
        try:
            there, own = os.stat(self.folder / 'lock'), os.fstat(self._lock.fileno())
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (own.st_dev, own.st_ino):
            raise UserError(
                f'{self.folder} was moved or removed while this run wrote to it; '
                'nothing more is written'
            )

    def __enter__(self):
        """Let signals stop at the next checkpoint; a second one stops at once."""

        # The first signal only leaves a note, which due() and checkpoint() find.
        def handler(number, frame):
            again, self.signal = self.signal is not None, number
            if again or self._inside:
                raise Interrupted(number)

        self._signals = contextlib.ExitStack()
        self._signals.enter_context(handling(handler))
        return self

    def __exit__(self, *exception):
        # Outside of a run a signal ends the script at once again.
        self._signals.close()
        if self.tensorboard:
            self.tensorboard.close()
        with contextlib.suppress(OSError):  # a full disk, which log() has reported
            self._log.close()
        self._lock.close()

    @contextlib.contextmanager
    def interruptible(self):
        """Let a signal break off at once in this context: for work that can be done again."""
        self._inside = True
        try:
            with contextlib.suppress(KeyboardInterrupt):
                yield
        finally:
            self._inside = False

    def picture(self, name: str, images: torch.Tensor, per_row: int, progress: Progress) -> Path:
        """Save images (N, C, H, W) in [0, 1] as a grid, per_row images a row; return its path."""
        if not ranks.leads():
            return self.folder / name
        # Small images are magnified to 32 pixels, so that a person sees something.
        times = max(1, 32 // images.shape[-1])
        magnified = images.repeat_interleave(times, 2).repeat_interleave(times, 3)
        grid = tile(magnified.cpu().split(per_row))
        if self.tensorboard:
            self.tensorboard.picture(grid, progress.exp, progress.iteration)
        self.check_own()
        write_atomic(self.folder / name, png_bytes((grid * 255).round().astype(np.uint8)))
        return self.folder / name
