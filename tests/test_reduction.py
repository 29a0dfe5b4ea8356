"""Reductions and levels of gradient matching, against NumPy and one double backward."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from methods.distance import match_ours, reduced_distance
from methods.reduction import REDUCTIONS
from networks import redraw
from utils import UserError


def gradients(seed=0):
    """Return a random gradient of four parameters."""
    rng = np.random.default_rng(seed)
    return [
        torch.from_numpy(rng.normal(size=shape))
        for shape in [(4, 3, 3, 3), (4,), (6, 4, 1, 1), (10, 7)]
    ]


@pytest.mark.parametrize(('name', 'reduce'), [('avgpool1', np.mean), ('maxpool1', np.max)])
def test_pools_to_one_number_a_kernel(name, reduce):
    both = gradients(0), gradients(1)
    for before, after in zip(both, REDUCTIONS[name](*both, None), strict=True):
        assert after[0].shape == (4, 3, 1, 1)
        assert np.allclose(after[0].flatten(1).numpy(), reduce(before[0].numpy(), axis=(2, 3)))
        assert all(torch.equal(after[i], before[i]) for i in (1, 2, 3))


@pytest.mark.parametrize(('name', 'reduce'), [('avgpool2', np.mean), ('maxpool2', np.max)])
def test_pools_to_a_grid_of_overlapping_quarters(name, reduce):
    grads = gradients()
    kernel = grads[0].numpy()
    quarters = [
        kernel[:, :, rows, cols]
        for rows in (slice(0, 2), slice(1, 3))
        for cols in (slice(0, 2), slice(1, 3))
    ]
    expected = np.stack([reduce(quarter, axis=(2, 3)) for quarter in quarters], -1).reshape(
        4, 3, 2, 2
    )
    assert np.allclose(REDUCTIONS[name](grads, grads, None)[0][0].numpy(), expected)


@pytest.mark.parametrize('quantile', [0.0, 0.5, 0.9, 0.999])
def test_mask_keeps_what_is_large_in_the_real_gradient(quantile):
    syn, real = gradients(0), gradients(1)
    for kept_syn, kept_real, a, b in zip(
        *REDUCTIONS['mask'](syn, real, quantile), syn, real, strict=True
    ):
        order = np.sort(np.abs(b.numpy()).ravel())[::-1]
        number = max(1, b.numel() - int(np.ceil(quantile * b.numel())))
        keep = np.abs(b.numpy()) >= order[number - 1]
        assert keep.sum() == number
        assert np.array_equal(kept_syn.numpy(), a.numpy() * keep)
        assert np.array_equal(kept_real.numpy(), b.numpy() * keep)


def test_no_reduction_changes_nothing_and_a_mask_needs_its_quantile():
    grads = gradients(0), gradients(1)
    assert reduced_distance('ours', 'none', None)(*grads) == match_ours(*grads)
    for wrong in (('mask', None), ('none', 0.5), ('maxpool1', 0.5)):
        with pytest.raises(UserError, match='the one needs the other'):
            reduced_distance('ours', *wrong)


def double_backward(method, level, distance):
    """Return loss and image gradient of one step of `method`, by one double backward."""
    data, params = method.data, list(method.net.parameters())
    images = method.image_syn.detach().clone().requires_grad_()
    losses, real_losses, loss = [], [], 0
    for c in range(data.num_classes):
        index = method.sampler.draw(c, method.batch_real, method.rng, method.iteration)
        syn = images[c * method.ipc : (c + 1) * method.ipc]
        losses.append(F.cross_entropy(method.net(syn), torch.full((len(syn),), c)))
        real_losses.append(
            F.cross_entropy(method.net(data.images(index)), torch.full((len(index),), c))
        )
    pairs, num = [], len(losses)
    if level != 'intra':
        pairs.append((sum(losses) / num, sum(real_losses) / num, num))
    if level != 'inter':
        pairs += [(syn, real, 1) for syn, real in zip(losses, real_losses, strict=True)]
    for syn, real, weight in pairs:
        grads_real = torch.autograd.grad(real, params, retain_graph=True)
        grads_syn = torch.autograd.grad(syn, params, create_graph=True)
        loss = loss + weight * distance(grads_syn, grads_real)
    images.grad, = torch.autograd.grad(loss, images)  # fmt: skip
    return loss.item(), images.grad


@pytest.mark.parametrize(
    ('level', 'reduce', 'quantile', 'metric'),
    [
        ('intra', 'maxpool1', None, 'ours'),
        ('intra', 'avgpool2', None, 'cos'),
        ('intra', 'mask', 0.9, 'ours'),
        ('inter', 'none', None, 'ours'),
        ('both', 'none', None, 'angle_magnitude'),
        ('both', 'mask', 0.5, 'mse'),
    ],
)
def test_a_step_equals_the_double_backward_of_the_whole_loss(
    make_method, level, reduce, quantile, metric
):
    keywords = {'outer_loop': 1, 'level': level, 'reduce': reduce, 'mask_quantile': quantile}
    keywords |= {'dis_metric': metric, 'model': 'ConvNetD2'}
    ours, slow = make_method(**keywords), make_method(**keywords)
    log = ours.step()
    redraw(slow.net, slow.rng.generator)
    loss, grad = double_backward(slow, level, reduced_distance(metric, reduce, quantile))
    assert log['loss'] * slow.data.num_classes == pytest.approx(loss, rel=1e-4)
    # In float32 an entry at the threshold of the mask may be in or out.
    assert (ours.image_syn.grad - grad).norm() < (1e-3 if reduce == 'mask' else 1e-4) * grad.norm()
