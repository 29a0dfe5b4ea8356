"""The error of a batch's gradient: against NumPy, and a small real run with figure and numbers."""

import csv

import numpy as np
import torch

from engine.gradients import Gradients
from figures import gradient_error
from networks import make_network


def test_the_gradient_of_a_class_is_the_mean_over_its_images(digits):
    net = make_network('MLP', 1, 10, (8, 8))
    passes, index = Gradients(net, 1000, 64, compile=False), digits.indices_class[3]
    whole = gradient_error.gradient(passes, digits, index, 3)
    halves = [gradient_error.gradient(passes, digits, part, 3) for part in index.split(50)]
    sizes = [len(part) for part in index.split(50)]
    mean = sum(n * half for n, half in zip(sizes, halves, strict=True)) / len(index)
    assert torch.allclose(whole, mean, atol=1e-6)
    logits = net(digits.images(index))
    loss = torch.nn.functional.cross_entropy(logits, torch.full((len(index),), 3))
    grads = torch.autograd.grad(loss, list(net.parameters()))
    expected = np.concatenate([grad.numpy().ravel() for grad in grads])
    np.testing.assert_allclose(whole.numpy(), expected, atol=1e-6)


def test_the_figure_and_its_numbers(tmp_path, capsys):
    words = '--dataset Digits --model MLP --classes 3 --repeats 6 --device cpu'
    out = tmp_path / 'errors.png'
    gradient_error.main([*words.split(), '--cluster_path', str(tmp_path), '--out', str(out)])
    rows = list(csv.DictReader(out.with_suffix('.csv').open()))
    errors = {(r['network'], r['draw'], int(r['batch'])): float(r['error']) for r in rows}
    for network in gradient_error.STATES:
        # Noise falls with the size of a batch; what is wrong with one cluster stays.
        assert errors[network, 'uniform', 8] > 4 * errors[network, 'uniform', 64]
        one = errors[network, 'one of 20 clusters (BS)', 64]
        assert one > 10 * errors[network, 'uniform', 64]
        assert errors[network, 'stratified, k = batch', 8] < errors[network, 'uniform', 8]
    assert out.exists() and str(out) in capsys.readouterr().out
