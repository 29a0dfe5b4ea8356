"""The error of a batch's gradient: against NumPy, and a small real run with figure and numbers."""

import csv

import numpy as np
import pytest
import torch
from conftest import error_of

from engine.gradients import Gradients
from features.clusters import make_clusters
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


@pytest.fixture
def two_files(digits, tmp_path):
    """Cluster files of Digits: 2 and 16 clusters a class, by the pixels."""
    paths = [tmp_path / f'k{k}.pt' for k in (2, 16)]
    pixels = digits.pixels_train.flatten(1).float()
    for k, path in zip((2, 16), paths, strict=True):
        make_clusters(digits, pixels, path, k=k, layer=3, balanced=False, facts={})
    return paths


def test_batches_of_one_cluster_of_given_files(two_files, tmp_path, capsys):
    plain = torch.load(two_files[0], weights_only=True)['clusters']
    torch.save(plain, tmp_path / 'original.pt')  # a file of the study's code says nothing of itself
    line = ['--dataset', 'Digits', '--model', 'MLP', '--classes', '2', '--repeats', '8']
    line += ['--clusters', *map(str, two_files), str(tmp_path / 'original.pt')]
    gradient_error.main([*line, '--out', str(tmp_path / 'errors.png')])
    rows = list(csv.DictReader((tmp_path / 'errors.csv').open()))
    assert {row['draw'] for row in rows} == {
        'uniform', 'layer 3, k 2, plain', 'layer 3, k 16, plain', 'original',
    }  # fmt: skip
    errors = {(r['network'], r['draw'], int(r['batch'])): float(r['error']) for r in rows}
    for network in gradient_error.STATES:
        # The smaller the clusters, the further they are from their class.
        by_k = [errors[network, f'layer 3, k {k}, plain', 64] for k in (2, 16)]
        assert errors[network, 'uniform', 64] < by_k[0] < by_k[1]
    assert 'layer 3, k 16, plain' in capsys.readouterr().out


def test_given_files_that_cannot_be_compared(two_files, tmp_path, capsys):
    line = ['--dataset', 'Digits', '--model', 'MLP', '--out', str(tmp_path / 'x.png')]
    twice = [*line, '--clusters', *map(str, [two_files[0], *two_files])]
    assert 'there is another layer 3, k 2, plain' in error_of(gradient_error, twice, capsys)
    for flag in ('--feature_net', '--cluster_path'):
        other = [*line, '--clusters', str(two_files[0]), flag, 'PCA']
        assert f'{flag} does nothing with --clusters' in error_of(gradient_error, other, capsys)
    plain = torch.load(two_files[0], weights_only=True)['clusters']
    torch.save(plain, tmp_path / 'uniform.pt')
    named = [*line, '--clusters', str(tmp_path / 'uniform.pt')]
    assert 'there is another uniform in the figure' in error_of(gradient_error, named, capsys)
    missing = [*line, '--clusters', str(tmp_path / 'none.pt')]
    assert 'none.pt' in error_of(gradient_error, missing, capsys)


def test_numbers_of_something_else_are_not_replaced(tmp_path, capsys):
    (tmp_path / 'summary.csv').write_text('run,mean\n')
    line = ['--dataset', 'Digits', '--model', 'MLP', '--out', tmp_path / 'summary.png']
    assert 'summary.csv holds something else' in error_of(gradient_error, line, capsys)
    assert (tmp_path / 'summary.csv').read_text() == 'run,mean\n'


def test_a_class_of_few_images_is_named(digits, tmp_path, capsys):
    labels = digits.labels_train.numpy()
    rare = np.flatnonzero(labels == 7)[9:]  # nine are left
    pixels = digits.pixels_train.permute(0, 2, 3, 1).numpy()
    arrays = {'x_train': np.delete(pixels, rare, 0), 'y_train': np.delete(labels, rare)}
    arrays |= {'x_test': pixels[:20], 'y_test': labels[:20]}
    np.savez(tmp_path / 'few.npz', **arrays)
    line = ['--dataset', tmp_path / 'few.npz', '--model', 'MLP', '--out', tmp_path / 'x.png']
    assert "needs 10 images of every class; '7' has 9" in error_of(gradient_error, line, capsys)


def test_a_label_is_drawn_whatever_a_file_is_called(tmp_path):
    rows = [(state, 'a$\\frac$\udcff', 8, 0.1, 0.9, 0.0, 4) for state in gradient_error.STATES]
    gradient_error.draw_errors(rows, 'title', tmp_path / 'x.png')
    assert (tmp_path / 'x.png').stat().st_size > 1000
