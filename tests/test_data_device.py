"""Pixels that are kept in main memory: batches alone are moved, and results stay the same."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import main as main_script
from dataset.data import Data, RealImages
from dataset.whitening import Whitening
from engine import training
from evaluation.real import sample
from methods.initial import initial_images
from methods.sampling import UniformSampler

BATCH = 20
NOBODY = SimpleNamespace(generator=None, host_generator=None)  # fake tensors need no seed


class Moves(TorchDispatchMode):
    """Note (dtype, number of images or indices, where to) of what goes from device to device."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if 'copy' in func.name():
            source = [leaf for leaf in tree_leaves(args) if torch.is_tensor(leaf)][-1]
            if source.device.type != result.device.type and source.ndim:
                self.seen.add((source.dtype, len(source), result.device.type))
        return result


@pytest.fixture
def apart():
    """Yield data with pixels on the CPU and the rest on a GPU, neither of which has any memory."""
    random, labels = np.random.default_rng(0), np.arange(600) % 3
    pixels = random.integers(0, 256, (600, 8, 8, 3), dtype=np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels[:60], 'y_test': labels[:60]}
    with FakeTensorMode(allow_non_fake_inputs=True):
        statistics = (0.5,) * 3, (0.2,) * 3
        yield Data('apart', arrays, (), *statistics, device='cuda', data_device='cpu')


def devices(*tensors):
    return {tensor.device.type for tensor in tensors}


def test_pixels_alone_stay_in_main_memory(apart):
    assert devices(apart.pixels_train, apart.pixels_test) == {'cpu'}
    rest = apart.labels_train, apart.labels_test, apart.mean, apart.std, *apart.indices_class
    assert devices(*rest) == {'cuda'} and apart.device.type == 'cuda'
    whitening = Whitening(apart.pixels_train, apart.device)
    assert devices(whitening.mean, whitening.matrix, whitening.inverse) == {'cuda'}


USES = {
    'a batch': lambda data: data.images(UniformSampler(data).draw(0, BATCH, NOBODY)),
    'a start': lambda data: initial_images(data, BATCH, 'real', NOBODY),
    'one a class': lambda data: sample(data)[0],
}


@pytest.mark.parametrize('use', USES)
def test_batches_are_moved_as_they_are_drawn(apart, use):
    with Moves() as moves:
        assert devices(USES[use](apart)) == {'cuda'}
    there, back = ({m for m in moves.seen if m[2] == device} for device in ('cuda', 'cpu'))
    assert {dtype for dtype, _, _ in there} == {torch.uint8}  # as bytes, not as floats
    assert {dtype for dtype, _, _ in back} == {torch.int64}  # which images
    assert max(num for _, num, _ in moves.seen) <= BATCH


def test_training_and_testing_move_a_batch_at_a_time(apart, monkeypatch):
    with torch.device('cuda'):
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    step = training.TrainStep(net, torch.optim.SGD(net.parameters(), 0.1))
    monkeypatch.setattr(step, 'step', lambda images, labels: net(images))  # no gradients of fakes
    with Moves() as moves:
        training.train_epoch(step, RealImages(apart), apart.labels_train, BATCH, NOBODY)
        with pytest.raises(DataDependentOutputException):  # a fake accuracy has no value
            training.test_accuracy(net, apart, batch_size=BATCH)
    assert moves.seen == {(torch.uint8, BATCH, 'cuda'), (torch.int64, BATCH, 'cpu')}


def test_on_a_cpu_results_are_the_same_bit_for_bit(tmp_path):
    line = '--dataset Digits --model MLP --zca --num_exp 1 --num_eval 1 --epoch_eval_train 5'
    line += ' --compile off --device cpu --Iteration 1 --eval_every 0'
    for folder, flag in (('plain', ''), ('kept', ' --data_device cpu')):
        main_script.main(f'{line}{flag} --save_path {tmp_path / folder}'.split())
    paths = [next(tmp_path.glob(f'{folder}/*/res_*.pt')) for folder in ('plain', 'kept')]
    plain, kept = (torch.load(path, weights_only=True) for path in paths)
    assert torch.equal(plain['data'][0][0], kept['data'][0][0])
    assert plain['accs_all_exps'] == kept['accs_all_exps']
    assert paths[0].parent.name == paths[1].parent.name  # the same run, which either continues
