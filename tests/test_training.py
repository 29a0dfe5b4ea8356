"""The evaluation schedule, the pools and protocols, and that training on a set learns it."""

import pytest
import torch
from torch import nn

from engine.training import TrainStep, train_epoch, train_on_set
from engine.training import test_accuracy as accuracy_on_test
from evaluation.evaluate import evaluate_network, networks_left
from evaluation.protocol import eval_pool, protocol, strategy_of
from networks import make_network
from utils import Rng


@pytest.mark.parametrize(('epochs', 'changes'), [(300, 152), (10, 7), (1, 2)])
def test_schedule_of_the_papers(monkeypatch, epochs, changes):
    """Expect epochs + 1 epochs, and a lower rate after epoch epochs // 2 + 1 (from 0)."""
    seen = []

    def spy(step, *rest):
        group = step.optimizer.param_groups[0]
        seen.append((step.optimizer, group['lr'], group['momentum'], group['weight_decay']))

    monkeypatch.setattr('engine.training.train_epoch', spy)
    train_on_set(
        nn.Linear(2, 2), None, None, epochs=epochs, lr=0.01, batch_size=4, rng=Rng('cpu', 0)
    )
    rates = [lr for _, lr, _, _ in seen]
    assert rates == pytest.approx(
        [0.01] * min(changes, epochs + 1) + [0.001] * (epochs + 1 - changes)
    )
    assert len({optimizer for optimizer, *_ in seen}) == (2 if epochs + 1 > changes else 1)
    assert {rest for _, _, *rest in map(tuple, seen) for rest in [tuple(rest)]} == {(0.9, 5e-4)}


def test_epoch_sees_every_image_once_in_batches():
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.batches = nn.Parameter(torch.zeros(1, 3)), []

        def forward(self, images):
            self.batches.append(images.flatten().tolist())
            return images.view(-1, 1) @ self.weight

    net, images = Spy(), torch.arange(10.0).view(10, 1, 1, 1)
    step = TrainStep(net, torch.optim.SGD(net.parameters(), 0.1))
    train_epoch(step, images, torch.zeros(10).long(), 4, Rng('cpu', 0))
    assert [len(batch) for batch in net.batches] == [4, 4, 2]
    order = sum(net.batches, [])
    assert sorted(order) == list(range(10)) and order != sorted(order)


def test_training_learns_and_is_repeatable(digits):
    index = torch.cat([members[:5] for members in digits.indices_class])
    images, labels = digits.images(index), digits.labels_train[index]
    settings = {
        'strategy': 'None', 'epochs': 40, 'lr_net': 0.01, 'batch_train': 256, 'precision': 'fp32',
    }  # fmt: skip
    first = evaluate_network(images, labels, digits, 'ConvNetD1', Rng('cpu', 1), **settings)
    assert first > 0.6  # chance is 0.1
    assert evaluate_network(images, labels, digits, 'ConvNetD1', Rng('cpu', 1), **settings) == first
    bf16 = evaluate_network(
        images, labels, digits, 'ConvNetD1', Rng('cpu', 1), **settings | {'precision': 'bf16'}
    )
    assert bf16 == pytest.approx(first, abs=0.03)


def test_augmented_training_runs(digits):
    images, labels = digits.images(torch.arange(20)), digits.labels_train[:20]
    settings = {'epochs': 3, 'lr_net': 0.01, 'batch_train': 8, 'precision': 'fp32'}
    for model, strategy in (
        ('ConvNetBN', 'None'),
        ('ConvNetD1', 'color_crop_cutout_flip_scale_rotate'),
    ):
        accuracy = evaluate_network(
            images, labels, digits, model, Rng('cpu', 1), strategy=strategy, **settings
        )
        assert 0 <= accuracy <= 1


def test_accuracy_counts_the_correct_ones(digits):
    net = make_network('MLP', 1, 10, (8, 8))
    with torch.no_grad():
        classes = net(digits.normalise(digits.pixels_test)).argmax(1)
    expected = (classes == digits.labels_test).float().mean().item()
    assert accuracy_on_test(net, digits, batch_size=64) == pytest.approx(expected)


def test_pools():
    assert eval_pool('S', 'ConvNetBN') == ('ConvNet',)
    assert eval_pool('SS', 'ConvNetBN') == ('ConvNetBN',)
    assert eval_pool('S', 'ResNet18BN_AP') == ('ResNet18_AP',)
    assert eval_pool('S', 'ConvNetW64') == ('ConvNetW64',)
    assert eval_pool('M', 'ConvNet') == ('MLP', 'ConvNet', 'LeNet', 'AlexNet', 'VGG11', 'ResNet18')


def test_protocols():
    dsa = 'color_crop_cutout_flip_scale_rotate'
    rows = [
        ('ConvNet', 'CIFAR10', 'None', None, 'dc', 'None', 300),
        ('ConvNet', 'MNIST', 'None', None, 'dc', 'crop_scale_rotate', 1000),
        ('ConvNetBN', 'CIFAR10', 'None', None, 'dc', 'crop_noise', 1000),
        ('ConvNet', 'CIFAR10', dsa, None, 'dsa', dsa, 1000),
        ('ConvNet', 'CIFAR10', dsa, 25, 'dsa', dsa, 25),  # a typed number of epochs wins
    ]
    for model, dataset, strategy, epochs, *expected in rows:
        assert list(protocol(model, dataset, strategy, epochs).values()) == expected


def test_networks_left_skips_what_is_done():
    accs = {'A': [0.1, 0.2], 'B': []}
    assert list(networks_left(('A', 'B'), 2, accs)) == [('B', 0), ('B', 1)]


@pytest.mark.parametrize(
    ('args', 'expected'),
    [
        ({}, 'None'),
        ({'dsa_strategy': 'flip'}, 'flip'),
        ({'dsa_strategy': 'flip', 'protocol': 'dc'}, 'None'),
        ({'dsa_strategy': 'flip', 'protocol': 'dsa'}, 'flip'),
        ({'protocol': 'dsa'}, 'color_crop_cutout_scale_rotate'),
    ],
)
def test_a_typed_protocol_decides_how_sets_are_evaluated(args, expected):
    assert strategy_of({'dataset': 'MNIST'} | args) == expected
