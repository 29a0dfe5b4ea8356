"""Levels and inner loops: which level a step has, what centring changes, when training stops."""

import numpy as np
import pytest
import torch

from methods.inner_loop import epochs_after
from methods.levels import centred, level_of_step


def test_levels_of_steps_follow_the_papers():
    def levels(name, outer):
        return [[level_of_step(name, it, 8, step) for step in range(outer)] for it in range(8)]

    assert levels('interleaved', 1) == [['intra'], ['inter']] * 4
    # DCC: a quarter of the run warms up, and ten steps of every network.
    assert levels('contrast', 1) == [['intra']] * 2 + [['inter']] * 6
    assert levels('contrast', 12)[0] == ['intra'] * 10 + ['inter'] * 2
    assert levels('both', 2) == [['both'] * 2] * 8


def test_contrast_has_weight_one(make_method):
    keywords = {'outer_loop': 1, 'model': 'ConvNetD2'}
    contrast = make_method(level='contrast', Iteration=0, **keywords)  # no warm-up
    inter = make_method(level='inter', **keywords)
    assert contrast.step()['loss'] == pytest.approx(inter.step()['loss'], rel=1e-5)
    num_classes = inter.data.num_classes
    difference = contrast.image_syn.grad * num_classes - inter.image_syn.grad
    assert difference.norm() < 1e-4 * inter.image_syn.grad.norm()


def test_centred_gradients_have_mean_zero():
    rng = np.random.default_rng(0)
    arrays = [[rng.normal(size=shape) for shape in ((4, 3), (5,))] for _ in range(3)]
    result = centred([[torch.from_numpy(part) for part in grads] for grads in arrays])
    for number in range(2):
        mean = sum(grads[number] for grads in arrays) / 3
        for grads, ours in zip(arrays, result, strict=True):
            np.testing.assert_allclose(ours[number].numpy(), grads[number] - mean, atol=1e-12)


def test_what_all_classes_share_does_not_matter_when_centred(make_method):
    method = make_method(level='centred', outer_loop=1)
    shared = [torch.randn_like(param) for param in method.net.parameters()]
    gradients = method._gradients

    def shifted(classes, draws):
        result = gradients(classes, draws)
        return result._replace(grads_real=torch._foreach_add(result.grads_real, shared))

    plain = make_method(level='centred', outer_loop=1)
    plain.step()
    method._gradients = shifted
    method.step()
    change = (method.image_syn.grad - plain.image_syn.grad).norm() / plain.image_syn.grad.norm()
    assert change < 1e-3


def test_epochs_of_the_adaptive_schedule():
    assert [epochs_after(step, 50, 'adaptive') for step in range(12)] == (
        [50, 40, 30, 20] + [10] * 6 + [5, 5]
    )
    assert epochs_after(3, 7, 'constant') == 7


def test_training_stops_when_the_loss_on_real_images_rises(make_method):
    keywords = {'outer_loop': 4, 'inner_loop': 60, 'lr_net': 0.1}
    method = make_method(schedule='overfit', **keywords)
    losses, probe = [], method.inner_loop._probe_loss
    method.inner_loop._probe_loss = lambda: losses.append(probe()) or losses[-1]
    method.match()
    method.outer = 1
    method.train_network()
    epochs = method.inner_epochs
    assert len(losses) == epochs + 1 and 0 < epochs < 60
    falling = [after <= before for before, after in zip(losses, losses[1:], strict=False)]
    assert all(falling[:-1]) and not falling[-1]


def test_momentum_does_not_pass_from_network_to_network(make_method):
    method = make_method(momentum_net=0.9, outer_loop=2)
    method.step()
    buffers = [state['momentum_buffer'] for state in method.inner_loop.optimizer.state.values()]
    assert any(buffer.abs().max() > 0 for buffer in buffers)
    method.inner_loop.begin()
    assert all(buffer.abs().max() == 0 for buffer in buffers)
