"""The one door for files: whole or not there when written, checked before they are believed.

What is read is a regular file, its archive has the right checksums, and no code of it runs. What it
should hold is checked by storage/kinds.py.
"""

import contextlib
import glob
import hashlib
import io
import json
import os
import pickle
import stat
import tempfile
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import _reconstruct, scalar

from utils import UserError, is_memory

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

# The field's result files hold NumPy numbers and arrays.
ALLOWED = [
    *((scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
    np.ndarray,
    np.dtype,
    *(type(np.dtype(f'f{size}')) for size in (2, 4, 8)),
    *(type(np.dtype(f'{sign}{size}')) for sign in 'ui' for size in (1, 2, 4, 8)),
    type(np.dtype('?')),
]
# A planted link must not lead a write elsewhere, nor a pipe make it wait.
NO_LINK = getattr(os, 'O_NOFOLLOW', 0) | getattr(os, 'O_NONBLOCK', 0)
MOST = 230  # bytes of a name: systems take 255, and a file that is being written has a longer one


def open_lock(path: Path, mode: str = 'r+'):
    """Open a lock file, made empty if it is missing; it is never emptied."""
    flags = os.O_RDONLY if mode == 'r' else os.O_RDWR | os.O_CREAT
    return os.fdopen(os.open(path, flags | NO_LINK, 0o666), mode)


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
        lock = open_lock(path.with_name(f'.{path.name}.lock'))
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
            remove_parts(path)
        yield not path.exists()


def remove_parts(path: Path) -> None:
    """Remove what killed processes left of a file, or of all files of a folder.

    The caller has the lock of those who write there.
    """
    folder, head = (path, '') if path.is_dir() else (path.parent, f'{glob.escape(path.name)}.')
    for part in folder.glob(f'{head}*.part'):
        part.unlink(missing_ok=True)


def check_writable(path: Path, flag: str, *endings: str) -> None:
    """Raise UserError unless a file can be written at path: before any work, not after it.

    endings: of its name, if only those make sense: a slip must not replace another kind of file.
    """
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if path.is_dir() or not path.name:
        raise UserError(f'{flag} {path} is a folder: name the file to write')
    if path.exists() and not path.is_file():
        raise UserError(f'{flag} {path} is a device or a pipe: name a file to write')
    if not folder.is_dir() or not takes_files(folder):
        raise UserError(f'{flag} {path}: {folder} is no folder that may be written')
    if len(os.fsencode(path.name)) > MOST:
        raise UserError(f'{flag} {path}: its name is too long: at most {MOST} bytes')
    if endings and path.suffix.lower() not in endings:
        raise UserError(f'{flag} {path}: the name of this file ends in {" or ".join(endings)}')


def takes_files(folder: Path) -> bool:
    """Tell whether a file can be made in folder: some systems refuse though its mode allows it."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def write_atomic(path: Path, content: bytes) -> None:
    """Write content to path; if that fails, leave path as it was and raise UserError."""
    # A name of its own: two processes that write path must not write into one part.
    part = path.with_name(f'{path.name}.{os.getpid()}-{os.urandom(3).hex()}.part')
    try:
        if path.exists() and not path.is_file():
            raise UserError(
                f'{path} is no file, so it is not replaced; move it away, or name another one'
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_LINK
        with os.fdopen(os.open(part, flags, 0o666), 'wb') as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise UserError(
            f'{path} cannot be written ({error.strerror}); what was saved before is kept: '
            'make room, then give the same command again'
        ) from error
    finally:
        with contextlib.suppress(OSError):  # it is there if a signal or an error came between
            part.unlink(missing_ok=True)


def save_tensors(path: Path, state: dict) -> None:
    """Save a dict of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getbuffer())


def check_file(path: str | Path, what: str) -> None:
    """Raise UserError unless path is a regular file: a folder or a pipe cannot be read as one."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such {what}') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read as a {what} ({error.strerror})') from error
    if not stat.S_ISREG(mode):
        kind = 'a folder' if stat.S_ISDIR(mode) else 'no regular file'
        raise UserError(f'{path} is {kind}; it should be a {what}')


def check_archive(path: Path, what: str) -> None:
    """Raise UserError if a checksum of the archive at path is wrong: torch.load looks at none."""
    try:
        with open(path, 'rb') as file:
            if file.read(2) != b'PK':
                return  # a file of torch before 1.6, which has no checksums
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except OSError as error:
        raise UserError(f'{path} cannot be read as a {what} ({error.strerror})') from error
    except Exception as error:  # BadZipFile, zlib.error, NotImplementedError …, by the damage
        raise UserError(
            f'{path} cannot be read as a {what}: it is truncated or damaged; restore it from a copy'
        ) from error
    if damaged:
        raise UserError(
            f'{path} cannot be read as a {what}: the checksum of a part of it is wrong; '
            'restore it from a copy'
        )


def load_tensors(path: Path, what: str):
    """Load what torch.save wrote, without running code from it; raise UserError if that fails."""
    path = Path(path)
    check_file(path, what)
    check_archive(path, what)
    try:
        with torch.serialization.safe_globals(ALLOWED), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            return torch.load(path, map_location='cpu', weights_only=True)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f'{path} cannot be read as a {what}: it is no file of torch.save, or holds objects '
            'whose code would run; only tensors, numbers, words, lists and dicts are read'
        ) from error
    except Exception as error:  # RuntimeError, EOFError, KeyError …, by the kind of damage
        if is_memory(error):
            raise
        raise UserError(
            f'{path} cannot be read as a {what}: it is damaged, or no file of torch.save'
        ) from error


def load_json(path: Path, what: str):
    """Return what a JSON file holds; raise UserError if it cannot be read."""
    check_file(path, what)
    try:
        return json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'{path} cannot be read as a {what} ({error.strerror})') from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} cannot be read as a {what}: it is no JSON') from error


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's content; raise UserError for what is no regular file."""
    check_file(path, 'plain file')
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
