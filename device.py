"""Where a run computes and what it draws: the device and its precision, its memory, and seeded random
streams."""

import ctypes
import sys
import zlib

import numpy as np
import torch

from errors import UserError


class Rng:
    """Two seeded generators: .device for tensors, and .host for choices that Python code branches on.

    keys (numbers or words) name the stream: the same keys give the same draws, other keys independent ones.
    """

    def __init__(self, device: str | torch.device, *keys):
        entropy = [zlib.crc32(str(key).encode()) for key in keys]
        seeds = [int(word) for word in np.random.SeedSequence(entropy).generate_state(2)]
        self.device = torch.Generator(device).manual_seed(seeds[0])
        self.host = torch.Generator().manual_seed(seeds[1])

    def state_dict(self) -> dict:
        return {'device': self.device.get_state(), 'host': self.host.get_state()}

    def load_state_dict(self, state: dict) -> None:
        self.device.set_state(state['device'])
        self.host.set_state(state['host'])


def set_up_device(device: str, precision: str) -> torch.device:
    """Check the device, set the precision of matrix units, and let the CPU allocator keep its pages.

    Raises UserError for a device that this machine has not.
    """
    try:
        chosen = torch.device(device)
        torch.ones(1, device=chosen).item()
    except Exception as error:  # RuntimeError, AssertionError or AcceleratorError, by device and version
        reason = str(error).splitlines()[0]
        raise UserError(
            f'--device {device} cannot be used here ({reason}); use --device cpu, or leave it out'
        ) from error
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != 'fp32'
    if chosen.type == 'cpu':
        keep_freed_pages()
    return chosen


def keep_freed_pages() -> None:
    """Make glibc's malloc reuse freed pages instead of returning them; page faults cost over half of a CPU
    step."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None) if sys.platform == 'linux' else None
    if mallopt:
        m_trim_threshold, m_mmap_max = -1, -4
        mallopt(m_mmap_max, 0)
        mallopt(m_trim_threshold, -1)


def fast_precision(device: str) -> str:
    """Return the default precision: the fastest one that the hardware has and that keeps the numbers."""
    if device.startswith('cuda'):
        return 'tf32'
    has_bf16 = getattr(torch.cpu, '_is_avx512_bf16_supported', lambda: False)
    return 'bf16' if has_bf16() else 'fp32'


def autocast(device: torch.device, precision: str):
    """Return the context in which networks run for this precision."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == 'bf16')


def peak_memory(device: torch.device) -> float:
    """Return the peak memory so far in MiB: of the allocator on a GPU, else of the process (resident)."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return float('nan')
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == 'darwin' else 2**10)
