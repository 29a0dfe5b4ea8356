"""Real processes for tests, forked from one that has imported everything: each starts at once."""

import multiprocessing
import os

import torch

CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    ['pytest', 'main', 'main_BS', 'main_eval', 'sklearn.model_selection', 'torch._dynamo']
)


def start(function, *args, output, **environment):
    """Start function(*args), of a test's module, in a process of its own; return the process.

    output: file for what it prints, errors included. It computes on one thread.
    """
    words = function, args, str(output), environment
    process = CONTEXT.Process(target=_begin, args=words, daemon=True)
    process.start()
    return process


def _begin(function, args, output, environment):
    os.environ.update(environment)
    torch.set_num_threads(1)
    file = os.open(output, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for standard in (1, 2):
        os.dup2(file, standard)
    function(*args)
