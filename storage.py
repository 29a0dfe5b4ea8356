"""Files that are whole or not there: atomic writes, and loading that runs no code of the file."""

import contextlib
import hashlib
import io
import os
from pathlib import Path

import numpy as np
import torch
from numpy._core.multiarray import scalar

from errors import UserError

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None


@contextlib.contextmanager
def making(path: Path):
    """Within this context no other process makes files in the folder of path; yield whether it is missing.

    Waits for one that does, so that jobs that need the same file make it once. Raises UserError for a folder
    that cannot be written.
    """
    if path.exists():
        yield False
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = open(path.parent / '.lock', 'w')  # noqa: SIM115 (closed below)
    except OSError as error:
        raise UserError(f'{path} cannot be written ({error.strerror}); choose another folder') from error
    with lock:
        if fcntl:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f'waiting for another process that makes files in {path.parent}', flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
        yield not path.exists()


def write_atomic(path: Path, content: bytes) -> None:
    """Write content to path, or leave path as it was and raise UserError (full disk, no permission)."""
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
            f'{path} cannot be written ({error.strerror}); what was saved before is kept: make room, then '
            'give the same command again'
        ) from error


def save(path: Path, state: dict) -> None:
    """Save a dict of tensors and plain values, atomically."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getbuffer())


def load(path: Path, what: str) -> dict:
    """Load what save() or another project's torch.save wrote, without running code from it; raise
    UserError."""

    allowed = [
        (scalar, 'numpy.core.multiarray.scalar'),
        (scalar, 'numpy._core.multiarray.scalar'),
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        np.dtypes.Int32DType,
    ]  # the field's result files hold NumPy numbers
    try:
        with torch.serialization.safe_globals(allowed):
            return torch.load(path, map_location='cpu', weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f'{path}: no such {what}') from error
    except Exception as error:  # UnpicklingError, RuntimeError, EOFError, OSError …, by the kind of damage
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f'{path} cannot be read as a {what} (truncated or foreign: {reason}); '
            'remove it or restore it from a copy'
        ) from error


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file's content."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _is_set(pair) -> bool:
    """Tell whether pair is [images (N, C, H, W), labels (N,)] with N > 0."""
    return (
        isinstance(pair, list | tuple)
        and len(pair) == 2
        and all(isinstance(part, torch.Tensor) for part in pair)
        and pair[0].ndim == 4
        and pair[1].shape == pair[0].shape[:1]
        and len(pair[0]) > 0
    )


def load_result(path: Path) -> dict:
    """Load a result file: `data` = [[images (N, C, H, W), labels (N,)], …] and `accs_all_exps` = {network: [0
    … 1]}."""
    result = load(path, 'result file')
    if (
        not isinstance(result, dict)
        or not isinstance(result.get('data'), list | tuple)
        or not result['data']
        or not all(map(_is_set, result['data']))
        or not all(isinstance(result.get(key, {}), dict) for key in ('args', 'accs_all_exps'))
    ):
        raise UserError(
            f"{path} is no result file: it needs 'data' = [[images (N, C, H, W), labels (N,)], …]"
        )
    return result


def label_of(args: dict) -> str:
    """Return what tables and figures call a run, from the arguments in its result file."""
    label = args.get('method') or Path(args.get('synset', 'set')).stem
    if label.startswith('res_'):  # a set judged again: res_<method>_<dataset>_…
        label = label.split('_')[1]
    if label.startswith('BS') and args.get('draw', 'cluster') != 'cluster':
        label += ' ' + args['draw']
    if args.get('mix') is not None:
        label += f' mix {args["mix"]}'
    for key, plain in (('reduce', 'none'), ('level', 'intra')):
        if args.get(key, plain) != plain:
            label += f' {args[key]}'
    return label + (' equal batch' if args.get('equal_batch') else '')
