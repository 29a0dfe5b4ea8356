"""Operations: identity at zero strength, right pixels, differentiable, equal for equal draws."""

import math

import pytest
import torch

from dataset import augment
from dataset.augment import DC, DSA
from dataset.readers import dsa_strategy
from evaluation.protocol import dc_strategy
from utils import Rng, UserError

SHAPE = (3, 12, 12)
IMAGES = torch.randn(6, *SHAPE, generator=torch.Generator().manual_seed(0))
ZERO = torch.zeros(1)
IDENTITIES = {
    'brightness': {'shift': ZERO},
    'saturation': {'factor': ZERO + 1}, 'contrast': {'factor': ZERO + 1},
    'color': {'shift': ZERO, 'saturation_factor': ZERO + 1, 'contrast_factor': ZERO + 1},
    'crop': {'shift_y': ZERO.long(), 'shift_x': ZERO.long()},
    'cutout': {'center_y': ZERO.long(), 'center_x': ZERO.long(), 'ratio': 0.0},
    'flip': {'flips': ZERO.bool()},
    'scale': {'scale_y': ZERO + 1, 'scale_x': ZERO + 1}, 'rotate': {'angle': ZERO},
    'resize_nearest': {'ratio_y': ZERO + 1, 'ratio_x': ZERO + 1},
}  # fmt: skip


@pytest.mark.parametrize('name', IDENTITIES)
def test_identity_at_zero_strength(name):
    assert torch.allclose(getattr(augment, name)(IMAGES, **IDENTITIES[name]), IMAGES, atol=1e-5)


@pytest.mark.parametrize('kind', [DSA, DC])
@pytest.mark.parametrize('siamese', [True, False])
def test_same_draw_same_transform_and_differentiable(kind, siamese):
    for name in kind.OPERATIONS:
        if kind is DC and siamese:
            continue  # DC's augmentation is per image
        transform = kind(name, SHAPE, Rng('cpu', 0)).draw(1 if siamese else len(IMAGES))
        images = IMAGES.clone().requires_grad_()
        result = transform(images)
        assert result.shape == images.shape and torch.equal(result, transform(images))
        gradient, = torch.autograd.grad(result.square().sum(), images)  # fmt: skip
        assert torch.isfinite(gradient).all() and gradient.abs().sum() > 0


@pytest.mark.parametrize('name', DSA.OPERATIONS)
def test_siamese_shares_parameters_and_per_sample_does_not(name):
    same = IMAGES[:1].expand(32, -1, -1, -1)
    shared = DSA(name, SHAPE, Rng('cpu', 1)).draw()(same)
    assert torch.allclose(shared, shared[:1].expand_as(shared), atol=1e-6)
    own = DSA(name, SHAPE, Rng('cpu', 1)).draw(32)(same)
    assert not torch.allclose(own, own[:1].expand_as(own), atol=1e-3)


def test_siamese_transform_does_not_depend_on_the_batch():
    for name in DSA.OPERATIONS:
        transform = DSA(name, SHAPE, Rng('cpu', 2)).draw()
        assert torch.allclose(transform(IMAGES)[2:4], transform(IMAGES[2:4]), atol=1e-6)


def test_color_operations_against_their_formulas():
    x = IMAGES.double()
    result = augment.color(x, torch.tensor([0.3]), torch.tensor([1.7]), torch.tensor([0.6]))
    x = x.numpy() + 0.3
    mean = x.mean(1, keepdims=True)
    x = (x - mean) * 1.7 + mean
    mean = x.mean((1, 2, 3), keepdims=True)
    x = (x - mean) * 0.6 + mean
    assert torch.allclose(result, torch.from_numpy(x), atol=1e-6)


def test_crop_moves_the_window_and_fills():
    result = augment.crop(IMAGES, torch.tensor([2]), torch.tensor([-3]))
    assert torch.equal(result[:, :, :10, 3:], IMAGES[:, :, 2:, :9])
    assert result[:, :, 10:].abs().max() == 0 and result[..., :3].abs().max() == 0
    filled = augment.crop(
        IMAGES, torch.tensor([2]), torch.tensor([0]), fill=torch.tensor([1.0, 2.0, 3.0])
    )
    assert torch.equal(filled[0, :, 11, 5], torch.tensor([1.0, 2.0, 3.0]))


def test_cutout_erases_half_of_the_side_clipped_at_the_border():
    ones = torch.ones(2, *SHAPE)
    result = augment.cutout(ones, torch.tensor([6, 0]), torch.tensor([6, 12]))
    assert (result[0] == 0).sum() == 3 * 6 * 6 and result[0, :, 3:9, 3:9].abs().max() == 0
    assert (result[1] == 0).sum() == 3 * 3 * 3 and result[1, :, :3, 9:].abs().max() == 0


def test_flip_mirrors_only_where_asked():
    result = augment.flip(IMAGES, torch.tensor([True, False] * 3))
    assert torch.equal(result[0], IMAGES[0].flip(-1)) and torch.equal(result[1], IMAGES[1])


def test_rotation_by_a_right_angle_and_resizing_to_half():
    turned = augment.rotate(IMAGES, torch.tensor([math.pi / 2]))
    assert torch.allclose(turned, IMAGES.rot90(1, (2, 3)), atol=1e-4) or torch.allclose(
        turned, IMAGES.rot90(-1, (2, 3)), atol=1e-4
    )
    half = augment.resize_nearest(IMAGES, torch.tensor([0.5]), torch.tensor([0.5]))
    assert torch.equal(half[:, :, 3:9, 3:9], IMAGES[:, :, ::2, ::2])
    assert half[:, :, :3].abs().max() == 0 and half[:, :, 9:].abs().max() == 0


def test_ranges_of_the_drawn_parameters():
    dsa = DSA('color', (3, 32, 32), Rng('cpu', 3))
    ranges = {
        'color': {'shift': (-0.5, 0.5), 'saturation_factor': (0, 2), 'contrast_factor': (0.5, 1.5)},
        'crop': {'shift_y': (-4, 4), 'shift_x': (-4, 4)},
        'cutout': {'center_y': (0, 32), 'center_x': (0, 32)},
        'scale': {'scale_y': (1 / 1.2, 1.2), 'scale_x': (1 / 1.2, 1.2)},
        'rotate': {'angle': (-math.pi / 12, math.pi / 12)},
        'flip': {'flips': (0, 1)},
    }
    for name, limits in ranges.items():
        drawn = getattr(dsa, f'_draw_{name}')(5000)
        for key, (low, high) in limits.items():
            values = drawn[key].float()
            assert values.min() >= low - 1e-6 and values.max() <= high + 1e-6, (name, key)
            assert (
                values.min() < low + 0.02 * (high - low) + 1e-6
                and values.max() > high - 0.02 * (high - low) - 1e-6
            )


def test_every_operation_of_a_strategy_is_drawn():
    dsa = DSA('crop_flip_scale', SHAPE, Rng('cpu', 4))
    names = [dsa.draw().func.__name__ for _ in range(300)]
    assert all(60 < names.count(name) < 140 for name in ('crop', 'flip', 'scale'))


def test_one_of_gives_each_image_its_own_operation():
    choice = torch.tensor([0, 1, 1, 0, 2, 2])
    result = augment.one_of(IMAGES, choice, [lambda x: x + 1, lambda x: x * 0, lambda x: -x])
    assert torch.equal(
        result, torch.stack([IMAGES[0] + 1, *IMAGES[1:3] * 0, IMAGES[3] + 1, *-IMAGES[4:]])
    )


def test_no_strategy_is_the_identity_and_draws_nothing():
    rng = Rng('cpu', 5)
    before = rng.generator.get_state()
    for kind in (DSA, DC):
        assert kind('None', SHAPE, rng).draw(6)(IMAGES) is IMAGES
    assert torch.equal(before, rng.generator.get_state())


def test_strategies_of_the_data_sets():
    assert dsa_strategy('my/MNIST.npz') == dsa_strategy('own.npz') != dsa_strategy('MNIST')
    assert 'flip' in dsa_strategy('CIFAR10') and 'flip' not in dsa_strategy('MNIST') + dsa_strategy(
        'SVHN'
    )
    assert (
        dc_strategy('MNIST', 'ConvNet') == 'crop_scale_rotate'
        and dc_strategy('CIFAR10', 'ConvNet') == 'None'
    )
    assert dc_strategy('CIFAR10', 'ConvNetBN') == 'crop_noise'


def test_unknown_operation_lists_the_known_ones():
    with pytest.raises(UserError, match="'swirl'.*color, crop, cutout, flip, scale, rotate"):
        DSA('crop_swirl', SHAPE, Rng('cpu', 0))
