"""BPTT: derivatives against one graph of all steps, the optimiser, state, Digits, bad input."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main as main_script
from engine.gradients import Gradients
from methods.unrolling import Unrolled


def in_double(method, monkeypatch):
    """Make everything that method computes with double precision."""
    method.net.double()
    images, num = method.data.images, 64
    method.unrolled = Unrolled(method.net, num, num, method.unrolled.momentum)
    method.gradients = Gradients(method.net, num, num, compile=False)
    method.image_syn = method.image_syn.double()
    monkeypatch.setattr(method.data, 'images', lambda index: images(index).double())


def one_graph(method, index, batches, rate, momentum):
    """Return loss and derivative by autograd through all steps at once."""
    stored = method.image_syn.clone().requires_grad_()
    images, labels = method.tiles.decode(stored), method.tiles.labels(method.label_syn)
    params = {
        name: param.detach().clone().requires_grad_()
        for name, param in method.net.named_parameters()
    }
    velocity = {name: torch.zeros_like(param) for name, param in params.items()}
    for rows in batches:
        loss = F.cross_entropy(functional_call(method.net, params, (images[rows],)), labels[rows])
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        for name, grad in zip(params, grads, strict=True):
            velocity[name] = momentum * velocity[name] + grad
        params = {name: value - rate * velocity[name] for name, value in params.items()}
    outputs = functional_call(method.net, params, (method.data.images(index),))
    classes = method.data.labels_train[index]
    losses = F.cross_entropy(outputs, classes, reduction='none')
    loss = torch.stack([losses[classes == c].mean() for c in classes.unique()]).mean()
    return loss, *torch.autograd.grad(loss, stored)


@pytest.mark.parametrize('model', ['MLP', 'ConvNetD1'])
@pytest.mark.parametrize('momentum', [0.0, 0.9])
@pytest.mark.parametrize(
    ('ipc', 'factor', 'epochs', 'batch_train'), [(1, 1, 5, 256), (2, 1, 2, 7), (1, 2, 1, 16)]
)
def test_derivative_equals_that_of_one_graph(
    make_method, monkeypatch, model, momentum, ipc, factor, epochs, batch_train
):
    method = make_method(
        'BPTT', model=model, ipc=ipc, factor=factor, inner_loop=epochs, batch_train=batch_train,
        momentum_net=momentum, lr_net=0.05,
    )  # fmt: skip
    in_double(method, monkeypatch)
    index, seen, plain = torch.arange(12), {}, method.unrolled.differentiate

    def spy(images, labels, batches, *others):
        seen['batches'] = batches
        return plain(images, labels, batches, *others)

    method.unrolled.differentiate = spy
    weights = copy.deepcopy(method.net.state_dict())
    loss, grad = method.differentiate(index)
    method.net.load_state_dict(weights)
    expected = one_graph(method, index, seen['batches'], 0.05, momentum)
    assert torch.allclose(loss, expected[0], rtol=1e-9, atol=0)
    assert torch.allclose(grad, expected[1], rtol=1e-8, atol=1e-12)
    # Every epoch sees every image once.
    num = 10 * ipc * factor**2
    rows = torch.cat(seen['batches']).reshape(epochs, num).sort().values
    assert torch.equal(rows, torch.arange(num).expand(epochs, num))


def test_steps_are_those_of_the_optimiser(make_method):
    method = make_method('BPTT', ipc=1, inner_loop=4, momentum_net=0.9, lr_net=0.05)
    other, ends = copy.deepcopy(method.net), {}

    def last():
        ends['weights'] = [param.detach().clone() for param in method.net.parameters()]
        return [torch.zeros_like(param) for param in method.net.parameters()], torch.zeros(())

    images, labels = method.synset
    rows = torch.arange(len(images))
    method.unrolled.differentiate(images, labels, [rows] * 4, torch.full((4,), 0.05), last)
    optimizer = torch.optim.SGD(other.parameters(), 0.05, momentum=0.9)
    for _ in range(4):
        optimizer.zero_grad()
        F.cross_entropy(other(images), labels).backward()
        optimizer.step()
    for ours, plain in zip(ends['weights'], other.parameters(), strict=True):
        assert torch.allclose(ours, plain, atol=1e-6)


def test_compiled_iterations_equal_eager_ones(traced, make_method):
    eager, fast = (
        make_method('BPTT', ipc=1, momentum_net=0.9, compile=flag) for flag in (False, True)
    )
    for _ in range(2):
        assert fast.step()['loss'] == pytest.approx(eager.step()['loss'], rel=1e-4)
    assert torch.allclose(fast.image_syn, eager.image_syn, atol=1e-3)


def test_loss_falls(make_method):
    method = make_method(
        'BPTT', ipc=1, inner_loop=6, lr_img=0.03, lr_net=0.05, momentum_net=0.9, batch_real=20
    )
    losses = [method.step()['loss'] for _ in range(60)]
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_state_goes_on_in_another_instance(make_method):
    method = make_method('BPTT', ipc=2, factor=2)
    method.step()
    other = make_method('BPTT', ipc=2, factor=2, seed=9)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert method.step() == other.step() and torch.equal(method.image_syn, other.image_syn)


def test_end_to_end_above_the_class_means(tmp_path):
    line = '--dataset Digits --model ConvNetD1 --ipc 1 --num_exp 1 --num_eval 3'
    line += f' --save_path {tmp_path} --epoch_eval_train 100'
    main_script.main(f'{line} --method BPTT --Iteration 40 --inner_loop 15 --eval_every 0'.split())
    main_script.main(f'{line} --method mean'.split())
    accuracy = {}
    for path in tmp_path.glob('*/res_*.pt'):
        result = torch.load(path, weights_only=True)
        accuracy[result['args']['method']] = np.mean(result['accs_all_exps']['ConvNetD1'])
    assert accuracy['BPTT'] > accuracy['mean'] + 0.01


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--model ConvNetBN', 'use a network without batch norm'),
        ('--model MLP --inner_loop 0', 'learns through one epoch or more'),
        ('--model MLP --factor 3', '--factor 3 does not divide'),
        ('--model MLP --momentum_net 1.5', '--momentum_net'),
        ('--model MLP --outer_loop 2', '--outer_loop does nothing for --method BPTT'),
        ('--model MLP --recipe dcc', '--recipe dcc is none for --method BPTT'),
        ('--model MLP --ipc 2 --recipe fast', 'has no settings for BPTT at ipc 2'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        line = f'--method BPTT --dataset Digits --compile off --save_path {tmp_path} {flags}'
        main_script.main(line.split())
    assert exit_.value.code == 2 and message in capsys.readouterr().err
