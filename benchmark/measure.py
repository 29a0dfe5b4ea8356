"""Measure a contestant in a process of its own: neither memory nor allocator touch another's."""

import multiprocessing
import os
import socket
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmark.contestants import Ours, Reference, Textbook
from dataset.data import Data, load_dataset
from engine.device import peak_memory, set_up_device
from experiment.compiling import forward_operations
from methods.presets import LOOPS
from networks import network_for
from processes import ranks
from utils import silence

QUANTITIES = ('match', 'inner_epoch', 'evaluation_epoch', 'test')
SECONDS = 30  # a quantity is repeated at least twice, and no more once it has taken so long
WIDTH = 256  # of the convolution that shows what the device can do


def make(name: str, data: Data, method: str, ipc: int, reference: Path | None, compile: bool | str):
    """Make the contestant `ours <precision>`, `textbook` or `reference`."""
    if name == 'reference':
        return Reference(data, method, ipc, reference)
    if name == 'textbook':
        return Textbook(data, method, ipc, 'fp32', False)
    return Ours(data, method, ipc, name.split()[1], compile)


def timed(function, device: torch.device) -> float:
    """Return the seconds that function() takes until the device is done."""
    started = time.perf_counter()
    function()
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def child(pipe, name, method, ipc, options):
    """Measure one contestant; send {quantity: {first, seconds}, peak_memory_mib} through pipe."""
    silence()
    if options.get('rank'):
        os.environ.update(options['rank'])
        torch.set_num_threads(1)
    if name.startswith('ours'):
        device = set_up_device(options['device'], name.split()[1])
    else:  # as it comes: without our way of setting up the allocator
        device = torch.device(options['device'])
    data = load_dataset(options['dataset'], options['data_path'], device=device)
    contestant = make(name, data, method, ipc, options['reference'], options['compile'])
    result = {}
    for quantity in options['quantities']:
        function = getattr(contestant, quantity)
        first, seconds = timed(function, device), []
        # Ranks, if there are several, repeat as often as each other.
        while len(seconds) < options['repeats'] and (
            len(seconds) < 2 or ranks.largest(sum(seconds) > SECONDS) == 0
        ):
            seconds.append(timed(function, device))
        result[quantity] = {'first': first, 'seconds': seconds}
    pipe.send(result | {'peak_memory_mib': peak_memory(device)})


def measure(name: str, method: str, ipc: int, options: dict) -> dict:
    """Run child() in a new process and return what it sends; raise RuntimeError if it dies."""
    context = multiprocessing.get_context('spawn')
    receiver, sender = context.Pipe(duplex=False)
    processes = []
    for environment in environments(options.get('ranks')):
        own = options | {'rank': environment}
        processes.append(context.Process(target=child, args=(sender, name, method, ipc, own)))
        processes[-1].start()
    sender.close()
    try:
        # A rank that dies would leave the others waiting for it.
        while not receiver.poll(0.1):
            if any(process.exitcode for process in processes):
                raise EOFError
        return receiver.recv()  # every rank sends; one is as good as another
    except EOFError:
        for process in processes:
            process.terminate()
        raise RuntimeError(f'measuring {name}, {method}, ipc {ipc} failed; see above') from None
    finally:
        for process in processes:
            process.join()


def environments(num: int | None) -> list[dict | None]:
    """Return what torchrun would put into the environment of each of num processes here."""
    if num is None:
        return [None]
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    shared = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port, 'WORLD_SIZE': num}
    own = [shared | {'RANK': i, 'LOCAL_RANK': i, 'LOCAL_WORLD_SIZE': num} for i in range(num)]
    return [{key: str(value) for key, value in one.items()} for one in own]


def iteration_seconds(ipc: int, match: float, inner_epoch: float) -> float:
    """Return the seconds of an iteration with the published loops, from those of its parts."""
    outer, inner = LOOPS[ipc]
    return outer * match + (outer - 1) * inner * inner_epoch


def rates(device: torch.device, precisions) -> dict[str, float]:
    """Return operations a second of fp32 and of these precisions, and bytes a second of a copy.

    The better of a large matrix product and a large convolution counts: libraries differ at them.
    """
    result = {}
    precisions = {'fp32', *precisions, *(['tf32'] if device.type == 'cuda' else [])}
    for precision in sorted(precisions):
        dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
        set_up_device(str(device), precision)
        matrix = torch.randn(16 * WIDTH, 16 * WIDTH, device=device).to(dtype)
        images = matrix.view(WIDTH, WIDTH, 16, 16)
        kernels = matrix.flatten()[: 9 * WIDTH**2].view(WIDTH, WIDTH, 3, 3)
        seconds = [
            min(timed(f, device) for _ in range(4))
            for f in (
                partial(torch.mm, matrix, matrix),
                partial(F.conv2d, images, kernels, padding=1),
            )
        ]
        result[precision] = max(
            2 * (16 * WIDTH) ** 3 / seconds[0], 2 * 9 * 16**2 * WIDTH**3 / seconds[1]
        )
    block, target = (torch.zeros(2**26, device=device) for _ in range(2))
    result['copy'] = (
        2 * 4 * 2**26 / min(timed(lambda: target.copy_(block), device) for _ in range(4))
    )
    return result


def work_of_a_step(data: Data, ipc: int) -> tuple[float, float]:
    """Return the matrix operations of one matching step, and the bytes that it moves.

    A real image costs three forward passes: one forward, two backward. A synthetic one costs nine:
    three for its gradient, three for the directional derivative, three back. Every pass reads and
    writes each layer once, as if no two layers were fused.
    """
    net, traffic = network_for('ConvNet', data), []

    def count(module, inputs, output):
        traffic.append(4 * (inputs[0].numel() + output.numel()))

    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(count)
    net(torch.zeros(1, *data.shape))
    passes = data.num_classes * (3 * 256 + 9 * ipc)
    return passes * forward_operations('ConvNet', data), passes * sum(traffic)
