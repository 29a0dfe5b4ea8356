"""Gradient matching: distances against NumPy, steps against the textbook, pauses, batch norm."""

import numpy as np
import pytest
import torch
from torch import nn

from engine.training import freeze_batchnorm
from methods import textbook
from methods.distance import DISTANCES
from methods.sampling import UniformSampler
from utils import Rng

ALL_OPERATIONS = 'color_crop_cutout_flip_scale_rotate'


def numpy_distances(grads_syn, grads_real):
    """Return the distances in NumPy, written from their formulas."""
    ours, lengths = 0.0, 0.0
    for a, b in zip(grads_syn, grads_real, strict=True):
        if a.ndim >= 2:
            for i in range(a.shape[0]):
                lengths += np.sqrt(np.sum((a[i] - b[i]) ** 2))
                dot = float(np.sum(a[i] * b[i]))
                ours += 1 - dot / (np.sqrt(np.sum(a[i] ** 2)) * np.sqrt(np.sum(b[i] ** 2)) + 1e-6)
    a, b = (np.concatenate([grad.ravel() for grad in grads]) for grads in (grads_syn, grads_real))
    cos = 1 - np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6)
    mse = float(np.sum((a - b) ** 2))
    conv = [a - b for a, b in zip(grads_syn, grads_real, strict=True) if a.ndim == 4]
    return {
        'ours': ours, 'mse': mse, 'cos': cos, 'angle_magnitude': ours + lengths,
        'conv_mse': sum(np.sum(d**2) for d in conv), 'conv_l1': sum(np.sum(abs(d)) for d in conv),
    }  # fmt: skip


@pytest.mark.parametrize('name', DISTANCES)
def test_distance_equals_numpy(name):
    rng = np.random.default_rng(0)
    shapes = [(4, 3, 3, 3), (4,), (5, 2, 2), (10, 7), (10,)]
    grads = [[rng.normal(size=shape) for shape in shapes] for _ in range(2)]
    grads[0][3][2] = 0  # a dead output node
    expected = numpy_distances(*grads)[name]
    result = DISTANCES[name](*([torch.from_numpy(grad) for grad in part] for part in grads))
    assert result.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('name', DISTANCES)
def test_distance_of_a_dead_node_has_a_finite_gradient(name):
    syn, real = torch.zeros(3, 4, 1, 1, requires_grad=True), torch.ones(3, 4, 1, 1)
    grad, = torch.autograd.grad(DISTANCES[name]([syn * 1.0], [real]), syn)  # fmt: skip
    assert torch.isfinite(grad).all()


@pytest.mark.parametrize(
    ('name', 'keywords'),
    [
        ('DC', {}),
        ('DC', {'model': 'ConvNet', 'ipc': 1, 'outer_loop': 1}),
        ('DSA', {'dsa_strategy': ALL_OPERATIONS, 'init': 'real'}),
        ('DC', {'level': 'inter'}),
        ('DC', {'level': 'inter', 'batch_real': 1000, 'model': 'ConvNetD2'}),  # uneven classes
        ('DSA', {'level': 'inter', 'dsa_strategy': ALL_OPERATIONS, 'factor': 2, 'init': 'mix'}),
        ('DC', {'level': 'both', 'factor': 2, 'init': 'real'}),
        ('DC', {'level': 'centred', 'momentum_net': 0.5}),
    ],
)
def test_class_by_class_equals_the_textbook(make_method, uneven, name, keywords):
    ours, slow = (make_method(name, data=uneven[0], **keywords) for _ in range(2))
    assert torch.equal(ours.image_syn, slow.image_syn)
    for _ in range(3):
        assert ours.step()['loss'] == pytest.approx(textbook.iteration(slow), rel=1e-5)
    assert torch.allclose(ours.image_syn, slow.image_syn, atol=1e-5)
    assert torch.equal(ours.rng.generator.get_state(), slow.rng.generator.get_state())


def test_step_logs_the_norms_of_every_weight_and_the_batch_size(make_method):
    method = make_method(outer_loop=1, batch_real=1000)
    log = method.step()
    weights = [name for name, param in method.net.named_parameters() if param.ndim > 1]
    assert list(log['grad_norm_real']) == list(log['grad_norm_syn']) == weights
    assert all(
        value > 0
        for norms in (log['grad_norm_real'], log['grad_norm_syn'])
        for value in norms.values()
    )
    # All classes are smaller than batch_real.
    sizes = [len(index) for index in method.data.indices_class]
    assert log['batch_real'] == pytest.approx(np.mean(sizes))


def test_loss_falls_over_iterations(make_method):
    method = make_method(ipc=1, outer_loop=1, batch_real=64)
    losses = [method.step()['loss'] for _ in range(20)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])


def test_a_paused_iteration_goes_on_in_another_instance(make_method):
    straight, paused = make_method(outer_loop=3), make_method(outer_loop=3)
    expected = [straight.step() for _ in range(2)]
    logs = [paused.step()]
    while len(logs) < 2:  # stop after each outer step and go on in a new instance
        log = paused.step(pause=lambda: True)
        if log is None:
            state = paused.state_dict()
            paused = make_method(outer_loop=3, seed=99)
            paused.load_state_dict(state)
        else:
            logs.append(log)
    assert logs == expected
    assert torch.equal(paused.image_syn, straight.image_syn)


def test_divergence_is_noticed(make_method):
    method = make_method(lr_img=1e30)
    with pytest.raises(FloatingPointError):
        for _ in range(5):
            method.step()


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_precision_moves_the_gradient_little(make_method, precision):
    exact, other = make_method(outer_loop=1), make_method(outer_loop=1, precision=precision)
    exact.step(), other.step()
    change = (exact.image_syn.grad - other.image_syn.grad).norm() / exact.image_syn.grad.norm()
    assert change == 0 if precision == 'fp32' else 0 < change < 0.05


def test_freeze_batchnorm_takes_statistics_of_real_images_and_keeps_them():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    images = torch.randn(32, 1, 8, 8) * 3 + 1
    freeze_batchnorm(net, images)
    values = net[0](images).detach().transpose(0, 1).flatten(1)
    assert torch.allclose(net[1].running_mean, 0.1 * values.mean(1), atol=1e-6)
    assert torch.allclose(net[1].running_var, 0.9 + 0.1 * values.var(1), atol=1e-5)
    assert not net[1].training and net[0].training and net[2].training
    before = net[1].running_mean.clone()
    net(images)
    assert torch.equal(net[1].running_mean, before)


def test_batchnorm_network_condenses(make_method):
    method = make_method(model='ConvNetBN', outer_loop=2)
    log = method.step()
    norm = next(module for module in method.net.modules() if isinstance(module, nn.BatchNorm2d))
    assert (
        np.isfinite(log['loss'])
        and not norm.training
        and norm.num_batches_tracked == 2 + method.inner_loop.epochs
    )


def test_both_batches_get_the_same_transform(make_method, monkeypatch):
    method = make_method('DSA', dsa_strategy=ALL_OPERATIONS, outer_loop=1)
    calls, draw = [], method.augmentation.draw

    def spy(*num):
        transform = draw(*num)
        calls.append([])
        return lambda images: calls[-1].append(len(images)) or transform(images)

    monkeypatch.setattr(method.augmentation, 'draw', spy)
    method.step()
    assert calls == [[method.batch_real, method.ipc]] * method.data.num_classes


def test_uniform_sampler_draws_members_without_repetition(digits):
    sampler, rng = UniformSampler(digits), Rng('cpu', 0)
    counts = torch.zeros(len(digits.labels_train))
    for _ in range(400):
        index = sampler.draw(3, 20, rng)
        assert len(index.unique()) == 20 and (digits.labels_train[index] == 3).all()
        counts[index] += 1
    members = counts[digits.indices_class[3]]
    expected = 400 * 20 / len(members)
    chi_square = float(((members - expected) ** 2 / expected).sum())
    assert chi_square < 200  # 99.9 % quantile of 136 degrees of freedom is 192
    assert len(sampler.draw(3, 10_000, rng)) == len(members)
