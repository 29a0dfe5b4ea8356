"""Replaying: fixed tensors for inputs and outputs, one recording a shape, which changes nothing.

Graphs themselves need a GPU (test_gpu.py). Here a stand-in calls the function again and writes into
the outputs of the first call, which is what a graph does with memory.
"""

import pytest
import torch

from engine import graphs
from engine.training import TrainStep, evaluation_optimizer, train_on_set
from networks import make_network
from utils import Rng


@pytest.fixture
def recordings(monkeypatch):
    """Replay on the CPU by the stand-in; return the list of what was recorded."""
    made = []

    def capture(function, device):
        for _ in range(graphs.WARM_UP):
            function()
        outputs = function()
        made.append(function)

        def replay():
            for output, new in zip(outputs, function(), strict=True):
                output.copy_(new)

        return outputs, replay

    monkeypatch.setattr(graphs, 'capture', capture)
    monkeypatch.setattr(graphs, 'DEVICES', ('cpu',))
    monkeypatch.setattr('engine.gradients.compiled', lambda function: function)
    return made


def test_results_survive_the_next_replay(recordings):
    double = graphs.Replayed(lambda x, factor: [factor * x], torch.device('cpu'))
    first, second = double(torch.ones(2), 2)[0], double(torch.full((2,), 5.0), 2)[0]
    assert first.tolist() == [2, 2] and second.tolist() == [10, 10] and len(recordings) == 1
    assert double(torch.ones(3), 2)[0].tolist() == [2] * 3 and double(torch.ones(2), 3)[
        0
    ].tolist() == [3, 3]
    assert len(recordings) == 3


def test_recording_changes_nothing(recordings):
    total, new = torch.zeros(1), []

    def add(x):
        total.add_(x)
        new[:] = [new[0] + x] if new else [x.clone()]
        return []

    step = graphs.Replayed(add, torch.device('cpu'), lambda: [total, *new])
    step(torch.ones(1))
    assert total.item() == 1  # warm-up and recording left it at 0


def test_the_device_and_the_flag_decide():
    def function():
        return []

    assert graphs.replayed(function, True, torch.device('cpu')) is function
    assert graphs.replayed(function, False, torch.device('cuda')) is function
    assert isinstance(graphs.replayed(function, True, torch.device('cuda')), graphs.Replayed)


@pytest.mark.parametrize('keywords', [{}, {'model': 'ConvNetBN', 'ipc': 1}, {'level': 'both'}])
def test_replayed_iterations_equal_eager_ones(recordings, make_method, uneven, keywords):
    eager, fast = (make_method(data=uneven[0], compile=flag, **keywords) for flag in (False, True))
    for _ in range(3):
        assert fast.step()['loss'] == pytest.approx(eager.step()['loss'], rel=1e-5)
    assert torch.allclose(fast.image_syn, eager.image_syn, atol=1e-5)
    # Real and synthetic weight gradients, the distance, image gradient, training.
    assert len(recordings) == 5


def test_replayed_distribution_matching_equals_eager(recordings, make_method):
    eager, fast = (make_method('DM', compile=flag) for flag in (False, True))
    for _ in range(3):
        assert fast.step()['loss'] == pytest.approx(eager.step()['loss'], rel=1e-5)
    assert torch.allclose(fast.image_syn, eager.image_syn, atol=1e-5)
    assert len(recordings) == 3  # embeddings of real and of synthetic images, image gradient


def test_replayed_training_equals_eager_training(recordings, digits):
    states = []
    for compile in (False, True):
        rng = Rng('cpu', 0)
        net = make_network('ConvNetBN', 1, 10, (8, 8), rng.generator)
        images, labels = digits.images(torch.arange(20)), digits.labels_train[:20]
        settings = {'epochs': 6, 'lr': 0.01, 'batch_size': 12, 'rng': rng, 'compile': compile}
        train_on_set(net, images, labels, augmentation=None, **settings)
        states.append(net.state_dict())
    assert all(
        torch.allclose(states[1][name], value, atol=1e-6) for name, value in states[0].items()
    )
    assert len(recordings) == 4  # batches of 12 and of 8, before and after the learning rate falls


def test_the_momentum_of_a_recorded_step_begins_at_zero(recordings):
    net = torch.nn.Linear(2, 2)
    optimizer = evaluation_optimizer(net, 0.1)
    step = TrainStep(net, optimizer, compile=True)
    before = net.weight.detach().clone()
    step.step._record((torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)))
    assert torch.equal(net.weight, before)
    assert all(state['momentum_buffer'].abs().sum() == 0 for state in optimizer.state.values())
