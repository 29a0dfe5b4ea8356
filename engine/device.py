"""Where a run computes: the device, its precision and its memory."""

import ctypes
import math
import sys

import torch

from processes import ranks
from utils import UserError


def set_up_device(device: str, precision: str) -> torch.device:
    """Check and return the device, and set the precision of its matrix units.

    A CPU's allocator keeps its pages from here on. Where torchrun started several processes, they
    meet here (processes/ranks.py). Raises UserError for a device that this machine does not have.
    """
    device = ranks.join(device)
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise UserError(
            f'--device {device} names no device: it is one, such as cpu, cuda or cuda:1; several '
            'GPUs share a run by torchrun (docs/ranks.md)'
        ) from error
    try:
        torch.ones(1, device=chosen).item()
    except Exception as error:  # RuntimeError, AssertionError or AcceleratorError, by version
        raise UserError(
            f'--device {device} cannot be used here ({_why_not(chosen, error)}); --device cpu can'
        ) from error
    if chosen.type == 'cpu' and chosen.index:  # torch takes any number, and computes on all cores
        raise UserError(f'--device {device}: there is one CPU; use --device cpu, or leave it out')
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != 'fp32'
    if chosen.type == 'cpu':
        keep_freed_pages()
    return chosen


def _why_not(device, error):
    """Return why a device cannot be used, in a few words."""
    if device.type == 'cuda':
        num = torch.cuda.device_count()
        return f'PyTorch finds {num} GPUs, numbered from 0' if num else 'PyTorch finds no GPU'
    return str(error).splitlines()[0]


def keep_freed_pages() -> None:
    """Make glibc's malloc reuse freed pages: page faults cost over half of a CPU step."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt:
        m_trim_threshold, m_mmap_max = -1, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)


def fast_precision(device: str) -> str:
    """Return the default precision: the fastest of the hardware that keeps the numbers."""
    if device.startswith('cuda'):
        return 'tf32'
    has_bf16 = getattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)
    return 'bf16' if has_bf16() else 'fp32'


def autocast(device: torch.device, precision: str):
    """Return the context in which networks run for this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bf16')


def read_back(numbers: torch.Tensor, *learned: torch.Tensor) -> list[float]:
    """Return numbers (n,) from the device, waiting for it once; the first one is the loss.

    Raises FloatingPointError unless the loss and all learned tensors are finite.
    """
    finite = torch.stack([torch.isfinite(tensor).all() for tensor in learned]).all()
    finite, *values = torch.cat([finite[None].to(numbers.dtype), numbers]).tolist()
    if not finite or not math.isfinite(values[0]):
        raise FloatingPointError(f'loss {values[0]}')
    return values


def peak_memory(device: torch.device) -> float:
    """Return the peak memory so far in MiB: a GPU's allocator's, else the process's (resident)."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float('nan')
    unit = 2**20 if sys.platform == 'darwin' else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
