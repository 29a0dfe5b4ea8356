"""What tests share: seeds, Digits, real CIFAR-10 where it is, methods with small settings."""

import inspect
import os
import socket
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from applications.ledger import Ledger
from dataset.data import Data, load_dataset
from dataset.readers import DATASETS
from methods import METHODS
from methods.sampling import UniformSampler
from networks import NETWORKS
from utils import Interrupted, Rng


@pytest.fixture(autouse=True)
def same_numbers_in_every_run():
    """Seed the global generator before each test."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_tables():
    """Forget the networks and the data sets that a test adds."""
    known = [(table, dict(table)) for table in (NETWORKS, DATASETS)]
    yield
    for table, rows in known:
        table.clear()
        table.update(rows)


@pytest.fixture(scope='session', autouse=True)
def no_network():
    """Refuse every connection that leaves this machine."""
    plain = socket.socket.connect

    def connect(own, address):
        if own.family in (socket.AF_INET, socket.AF_INET6) and address[0] != '127.0.0.1':
            raise OSError(f'tests use no network: {address}')
        return plain(own, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, 'connect', connect)
        yield


@pytest.fixture(scope='session')
def digits():
    """Return the data set Digits."""
    return load_dataset('Digits')


@pytest.fixture(scope='session')
def few_digits(digits, tmp_path_factory):
    """Return the path of an archive of 12 digits a class: a ResNet18 learns it in a second."""
    arrays = {}
    for part in ('train', 'test'):
        labels = getattr(digits, f'labels_{part}')
        index = torch.cat([(labels == c).nonzero()[:12, 0] for c in range(10)])
        arrays[f'x_{part}'] = getattr(digits, f'pixels_{part}')[index, 0].numpy()
        arrays[f'y_{part}'] = labels[index].numpy()
    path = tmp_path_factory.mktemp('data') / 'few.npz'
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope='session')
def cifar_path():
    """Return the folder of cifar10.npz, from the environment variable CONDENSE_DATA."""
    folder = os.environ.get('CONDENSE_DATA')
    if not folder or not Path(folder, 'cifar10.npz').is_file():
        pytest.skip('CONDENSE_DATA names no folder with cifar10.npz')
    return folder


@pytest.fixture
def traced(monkeypatch):
    """Compile passes by tracing alone: to build C++ code takes seconds a function."""
    by_tracing = partial(torch.compile, dynamic=False, backend='aot_eager')
    monkeypatch.setattr('engine.gradients.compiled', cache(by_tracing))


@pytest.fixture
def make_method(digits):
    """Return a function that builds a method on Digits with small settings, keywords first."""

    def make(name='DC', data=digits, sampler=None, seed=0, **keywords):
        settings = {
            'model': 'ConvNetD1', 'ipc': 2, 'outer_loop': 2, 'inner_loop': 2, 'lr_img': 0.1,
            'lr_net': 0.01, 'batch_real': 32, 'batch_train': 256, 'init': 'noise',
            'dsa_strategy': 'None', 'dis_metric': 'ours', 'reduce': 'none', 'mask_quantile': None,
            'level': 'intra', 'schedule': 'constant', 'factor': 1, 'momentum_net': 0.0,
            'learn_labels': False, 'ridge': 1e-6, 'n_data': 64,
            'num_nets': 4, 'net_every': 3, 'ce_weight': 0.1,
            'Iteration': 10, 'precision': 'fp32', 'compile': False,
            'rng': Rng('cpu', seed),
        }  # fmt: skip
        settings |= keywords
        taken = inspect.signature(METHODS[name]).parameters
        settings = {key: value for key, value in settings.items() if key in taken}
        return METHODS[name](data, sampler or UniformSampler(data), **settings)

    return make


@pytest.fixture(scope='session')
def uneven():
    """Return data of three uneven classes, and features in three separated groups a class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), (150, 40, 12)))
    pixels = rng.integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels[:30], 'y_test': labels[:30]}
    centres = rng.normal(size=(3, 5)) * 10
    features = centres[rng.integers(0, 3, len(labels))] + rng.normal(size=(len(labels), 5))
    return Data('uneven', arrays), torch.from_numpy(features).float()


def interrupt_after(num, monkeypatch):
    """Let SIGTERM come when a study has written down so many networks."""
    plain, left = Ledger.add, [num]

    def add(self, *network):
        plain(self, *network)
        left[0] -= 1
        if not left[0]:
            raise Interrupted(15)

    monkeypatch.setattr(Ledger, 'add', add)


def error_of(script, line, capsys):
    """Return the one line by which a script refuses what was typed."""
    with pytest.raises(SystemExit) as exit_:
        script.main([str(word) for word in line])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.startswith('error: ') and error.count('\n') == 1, error
    return error
