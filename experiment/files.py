"""Files that are whole or not there: atomic writes, and loading that runs no code of the file."""

import contextlib
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import scalar

from utils import UserError

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

# The field's result files hold NumPy numbers.
ALLOWED = [
    (scalar, 'numpy.core.multiarray.scalar'),
    (scalar, 'numpy._core.multiarray.scalar'),
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    np.dtypes.Int32DType,
]


@contextlib.contextmanager
def making(path: Path):
    """Keep other processes from making path; yield whether it is missing.

    Waits for a process that makes it, so that jobs that need the same file make it once. Raises
    UserError for a folder that cannot be written.
    """
    if path.exists():
        yield False
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.with_name(f'.{path.name}.lock'), 'w')  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror}); choose another folder'
        ) from error
    with lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f'waiting for another process that makes {path}', flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


def write_atomic(path: Path, content: bytes) -> None:
    """Write content to path; if that fails, leave path as it was and raise UserError."""
    part = path.with_name(path.name + '.part')
    try:
        with open(part, 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise UserError(
            f'{path} cannot be written ({error.strerror}); what was saved before is kept: '
            'make room, then give the same command again'
        ) from error


def save_tensors(path: Path, state: dict) -> None:
    """Save a dict of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getbuffer())


def load_tensors(path: Path, what: str) -> dict:
    """Load what torch.save wrote, without running code from it; raise UserError if that fails."""
    try:
        with torch.serialization.safe_globals(ALLOWED):
            return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such {what}') from error
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError …, by the kind of damage
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f'{path} cannot be read as a {what} (truncated or foreign: {reason}); '
            'remove it or restore it from a copy'
        ) from error


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
