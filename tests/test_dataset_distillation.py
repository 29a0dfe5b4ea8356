"""DD: derivatives against one graph of all steps, state, end to end on Digits, bad input."""

import copy
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import main as main_script
from engine.gradients import Gradients
from methods.unrolling import Unrolled
from networks import redraw


def one_graph(method, index):
    """Return loss and derivatives by autograd through all steps at once."""
    images = method.image_syn.clone().requires_grad_()
    log_lr = method.log_lr.clone().requires_grad_()
    params = {
        name: param.detach().requires_grad_() for name, param in method.net.named_parameters()
    }
    for step in range(method.num_steps):
        rows = torch.arange(method.data.num_classes) * method.ipc + step % method.ipc
        loss = F.cross_entropy(
            functional_call(method.net, params, (images[rows],)), method.label_syn[rows]
        )
        grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
        params = {
            name: value - log_lr[step].exp() * grad
            for (name, value), grad in zip(params.items(), grads, strict=True)
        }
    real = method.data.images(index).double()
    loss = F.cross_entropy(
        functional_call(method.net, params, (real,)), method.data.labels_train[index]
    )
    return loss, *torch.autograd.grad(loss, [images, log_lr])


@pytest.mark.parametrize(
    ('model', 'ipc', 'inner_loop'),
    [*product(('ConvNetD1', 'MLP'), (1, 2), (1, 3)), ('MLP', 1, 7), ('ConvNetAS', 1, 2)],
)
def test_derivatives_equal_those_of_one_graph(make_method, monkeypatch, model, ipc, inner_loop):
    method = make_method('DD', ipc=ipc, inner_loop=inner_loop, model=model, lr_net=0.1)
    method.net.double()
    num = method.data.num_classes
    method.unrolled, method.gradients = (
        Unrolled(method.net, num, 64),
        Gradients(method.net, num, 64, False),
    )
    method.image_syn, method.log_lr = method.image_syn.double(), method.log_lr.double()
    images = method.data.images
    monkeypatch.setattr(method.data, 'images', lambda index: images(index).double())
    index = torch.arange(0, 12)
    expected = one_graph(method, index)
    for ours, plain in zip(method.differentiate(index), expected, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-8, atol=1e-12)


def test_loss_falls_and_step_sizes_are_learned(make_method):
    method = make_method('DD', ipc=1, inner_loop=3, lr_img=0.05, lr_net=0.05, batch_real=20)
    logs = [method.step() for _ in range(60)]
    assert np.mean([log['loss'] for log in logs[-10:]]) < 0.7 * np.mean(
        [log['loss'] for log in logs[:10]]
    )
    rates = logs[-1]['lr_net']
    assert len(rates) == 3 and min(rates) > 0 and len({round(rate, 6) for rate in rates}) == 3


def test_state_goes_on_in_another_instance(make_method):
    method = make_method('DD', ipc=2)
    method.step()
    other = make_method('DD', ipc=2, seed=9)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert method.step() == other.step() and torch.equal(method.image_syn, other.image_syn)
    assert torch.equal(method.log_lr, other.log_lr)


def test_every_iteration_starts_from_another_network(make_method):
    method = make_method('DD', ipc=1)
    method.step()
    first = [param.clone() for param in method.net.parameters()]
    redraw(method.net, method.rng.generator)
    assert any(not torch.equal(a, b) for a, b in zip(first, method.net.parameters(), strict=True))


def test_end_to_end_above_random_images(tmp_path):
    line = '--dataset Digits --model MLP --ipc 1 --num_exp 1 --num_eval 3'
    line += f' --save_path {tmp_path} --epoch_eval_train 100'
    dd = '--method DD --Iteration 100 --eval_every 0 --lr_img 0.05 --lr_net 0.05'
    main_script.main(f'{line} {dd}'.split())
    main_script.main(f'{line} --method random'.split())
    accuracy = {}
    for path in tmp_path.glob('*/res_*.pt'):
        result = torch.load(path, weights_only=True)
        accuracy[result['args']['method']] = np.mean(result['accs_all_exps']['MLP'])
    assert accuracy['DD'] > accuracy['random']


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--model ConvNetBN', 'use a network without batch norm'),
        ('--model MLP --dsa_strategy flip', '--dsa_strategy does nothing for --method DD'),
        ('--model MLP --level both', '--level does nothing for --method DD'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        line = f'--method DD --dataset Digits --compile off --save_path {tmp_path} {flags}'
        main_script.main(line.split())
    assert exit_.value.code == 2 and message in capsys.readouterr().err
