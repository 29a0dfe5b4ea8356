"""Ranks: processes that share one run, started by torchrun, on one machine or on several.

    torchrun --nproc_per_node 2 main.py --method DC --dataset CIFAR10 --ipc 10

Every rank draws the same random numbers and holds the same images. Work that falls into items (the
classes of a step, evaluation networks, cluster files) is shared: item i is rank i % size's. Rank 0
alone writes the run. A process that torchrun did not start is rank 0 of 1, which costs nothing.
"""

import atexit
import contextlib
import hashlib
import importlib
import os
import sys
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from utils import RankLost, UserError

# Longer than any rank computes alone: an extractor on a CPU, the clusters of one file.
PATIENCE = timedelta(hours=12)
MEETING = timedelta(minutes=5)  # until all ranks have started
# What the libraries say of a peer that is gone.
LOST = 'closed', 'reset', 'Broken pipe', 'timeout', 'Timed out', 'aborted', 'remote process'
SAID = 'why the run ends'
_stores = []  # what the ranks have met by; torchrun keeps it


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _set_by_torchrun(name: str, default: int) -> int:
    value = os.environ.get(name, str(default))
    if not value.isdecimal():
        raise UserError(f'the ranks do not find each other ({name} is {value}); use torchrun')
    return int(value)


def size() -> int:
    """Return how many ranks there are."""
    return dist.get_world_size() if _joined() else 1


def size_here() -> int:
    """Return how many of them are on this machine."""
    return _set_by_torchrun('LOCAL_WORLD_SIZE', 1)


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _joined() else 0


def leads() -> bool:
    """Tell whether this is the rank that writes and prints."""
    return rank() == 0


def owns(item: int) -> bool:
    """Tell whether this rank computes item number `item`."""
    return item % size() == rank()


def join(device: str) -> str:
    """Meet the other ranks, if torchrun started any; return the device of this one.

    On a GPU it is the one of the process's number on its machine. Raises UserError if there is
    none, if the ranks do not find each other, or if their code differs.
    """
    number, total = _set_by_torchrun('RANK', 0), _set_by_torchrun('WORLD_SIZE', 1)
    if total == 1:
        return device
    if number >= total:
        raise UserError(
            f'the ranks do not find each other (RANK {number} of {total}, from 0); use torchrun'
        )
    if device.startswith('cuda'):
        device = _own_gpu(device)
    if not _joined():
        # Imported later, as torch.compile does, its default arguments would hold the group, and
        # the threads of a group that is held abort now and then while the interpreter ends.
        importlib.import_module('torch.distributed.nn')
        try:
            store, number, total = next(dist.rendezvous('env://', timeout=MEETING))
            backend = 'cpu:gloo,cuda:nccl' if 'cuda' in device else 'gloo'
            dist.init_process_group(
                backend, store=store, rank=number, world_size=total, timeout=PATIENCE
            )
        except (ValueError, RuntimeError) as error:
            reason = str(error).splitlines()[0]
            raise UserError(f'the ranks do not find each other ({reason}); use torchrun') from error
        _stores.append(store)
        # Else threads of the group may still run while the interpreter ends, which aborts it.
        atexit.register(_leave)
        check_same('code', code_hash())
    if not leads():
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115 (until the script ends)
    return device


def _own_gpu(device: str) -> str:
    local, gpus = _set_by_torchrun('LOCAL_RANK', 0), torch.cuda.device_count()
    if device != 'cuda':
        raise UserError(f'--device {device} with torchrun: leave it out, each rank takes its own')
    if not gpus:
        raise UserError('--device cuda: torch sees no GPU here; use --device cpu, or leave it out')
    if local >= gpus:
        raise UserError(
            f'rank {os.environ["RANK"]} is process {local} of its machine, which has {gpus} GPUs; '
            f'use --nproc_per_node {gpus}'
        )
    torch.cuda.set_device(local)
    return f'cuda:{local}'


def code_hash() -> str:
    """Return a hash of the project's code."""
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted([*root.glob('*.py'), *root.glob('[a-z]*/*.py')]):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@contextlib.contextmanager
def together():
    """Turn the loss of another rank, which ends a collective, into RankLost."""
    try:
        yield
    except RuntimeError as error:
        if not any(word in str(error) for word in LOST):
            raise
        raise RankLost(
            'another rank has ended; what was saved is kept: the same command continues, with any '
            'number of ranks',
            _is_news,
        ) from error


def _is_news() -> bool:
    """Tell whether no rank has said yet why the run ends; from now on one has."""
    try:
        return _stores[-1].add(SAID, 1) == 1
    except RuntimeError:  # rank 0 kept the store, and was killed
        return True


def _leave() -> None:
    """Leave the other ranks. A rank that is killed does not come here, so the others speak."""
    _is_news()
    dist.destroy_process_group()


def add_up(*tensors: torch.Tensor) -> None:
    """Add each tensor up over all ranks, in place: exact where all ranks but one have zeros."""
    if size() > 1:
        with together():
            for tensor in tensors:
                dist.all_reduce(tensor)


def largest(number: int) -> int:
    """Return the largest of the ranks' numbers."""
    if size() == 1:
        return number
    with together():
        of_all = torch.tensor(number)
        dist.all_reduce(of_all, dist.ReduceOp.MAX)
    return int(of_all)


def copy_first(*tensors: torch.Tensor) -> None:
    """Give every rank rank 0's tensors, in place: what all compute may differ by rounding."""
    if size() > 1:
        with together():
            for tensor in tensors:
                dist.broadcast(tensor, 0)


def from_first(value):
    """Return rank 0's value on every rank."""
    if size() == 1:
        return value
    with together():
        values = [value if leads() else None]
        dist.broadcast_object_list(values)
    return values[0]


def wait() -> None:
    """Wait for all ranks."""
    largest(0)


def first(function):
    """Return function(), which rank 0 calls before the others: they find what it has made."""
    if not leads():
        wait()
    result = function()
    if leads():
        wait()
    return result


def check_same(what: str, value) -> None:
    """Raise UserError on every rank unless all have the same value."""
    if size() > 1:
        values = [None] * size()
        with together():
            dist.all_gather_object(values, value)
        other = next((i for i, their in enumerate(values) if their != values[0]), None)
        if other is not None:
            raise UserError(f'ranks 0 and {other} differ in {what}: {_difference(values, other)}')


def _difference(values: list, other: int) -> str:
    first_, second = values[0], values[other]
    if isinstance(first_, dict):
        keys = sorted(k for k in first_.keys() | second.keys() if first_.get(k) != second.get(k))
        return ', '.join(f'{key} {first_.get(key)} and {second.get(key)}' for key in keys)
    return f'{first_} and {second}'
