"""What a number's provenance needs: commit, versions, processor."""

import contextlib
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from processes import ranks


def cpu_name() -> str:
    """Return what the system calls its processor."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        return next(line for line in lines if line.startswith('model name')).split(':')[1].strip()
    return platform.processor() or platform.machine()


def environment(device: torch.device) -> dict[str, str]:
    """Return commit, versions of Python and packages, and the device's name."""

    def git(*words):
        folder = Path(__file__).parent
        done = subprocess.run(['git', *words], cwd=folder, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        dirty = '+changes' if git('status', '--porcelain', '-uno') else ''
        commit = git('rev-parse', 'HEAD') + dirty
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
        'torchvision': version('torchvision'),
        'numpy': np.__version__,
        'device': name,
    } | ({'ranks': str(ranks.size())} if ranks.size() > 1 else {})
