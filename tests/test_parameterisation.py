"""Tiles against NumPy, their gradient, what starts in them, and what a result file holds."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import main
from experiment.result import load_result
from methods.coresets import Coreset
from methods.initial import class_centres, initial_images
from methods.parameterisation import Tiles
from networks import make_network
from utils import Rng, UserError


def bilinear(tile: np.ndarray, factor: int) -> np.ndarray:
    """Enlarge a tile (h, w) in NumPy: pixel centres are at half steps, edges are repeated."""
    height, width = tile.shape
    result = np.empty((height * factor, width * factor))
    for i in range(height * factor):
        for j in range(width * factor):
            y = np.clip((i + 0.5) / factor - 0.5, 0, height - 1)
            x = np.clip((j + 0.5) / factor - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            below, right = min(top + 1, height - 1), min(left + 1, width - 1)
            dy, dx = y - top, x - left
            result[i, j] = (1 - dy) * (1 - dx) * tile[top, left] + dy * dx * tile[below, right]
            result[i, j] += (1 - dy) * dx * tile[top, right] + dy * (1 - dx) * tile[below, left]
    return result


@pytest.mark.parametrize('factor', [2, 4])
def test_decoded_tiles_equal_numpy(factor):
    tiles, stored = Tiles(factor, (3, 8, 8)), torch.randn(2, 3, 8, 8, dtype=torch.float64)
    images, side = tiles.decode(stored), 8 // factor
    assert images.shape == (2 * factor**2, 3, 8, 8)
    for n in range(2):
        for number in range(factor**2):
            row, column = divmod(number, factor)
            cut = stored[n, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
            for channel in range(3):
                expected = bilinear(cut[channel].numpy(), factor)
                result = images[n * factor**2 + number, channel].numpy()
                np.testing.assert_allclose(result, expected, atol=1e-12)


def test_decoding_is_differentiable_and_of_factor_1_the_image_itself():
    stored = torch.randn(2, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(Tiles(2, (1, 8, 8)).decode, stored)
    assert Tiles(1, (1, 8, 8)).decode(stored) is stored


def test_encoded_tiles_are_means_in_the_order_of_decoding():
    images = torch.randn(8, 3, 8, 8)
    stored = Tiles(2, (3, 8, 8)).encode(images)
    assert stored.shape == (2, 3, 8, 8)
    shrunk = images.reshape(8, 3, 4, 2, 4, 2).mean((3, 5))
    assert torch.allclose(stored[1, :, :4, 4:], shrunk[5])
    # Constant images survive both ways.
    constant = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 3, 8, 8)
    tiles = Tiles(2, (3, 8, 8))
    assert torch.allclose(tiles.decode(tiles.encode(constant)), constant)


def test_a_mix_holds_different_real_images_of_its_class(digits):
    tiles = Tiles(2, digits.shape)
    stored = initial_images(digits, 2, 'mix', Rng('cpu', 0), tiles)
    assert stored.shape == (20, 1, 8, 8)
    shrunk = torch.nn.functional.avg_pool2d(digits.images(digits.indices_class[3]), 2)
    cut = stored[6:8].reshape(2, 1, 2, 4, 2, 4).permute(0, 2, 4, 1, 3, 5).reshape(8, 1, 4, 4)
    distances = torch.cdist(cut.flatten(1).double(), shrunk.flatten(1).double())
    assert (distances.min(1).values < 1e-3).all()
    assert len(distances.argmin(1).unique()) == 8


@pytest.mark.parametrize(
    ('factor', 'message'), [(3, 'does not divide'), (8, 'halves an image 1 times')]
)
def test_tiles_that_do_not_fit_are_refused(factor, message):
    net = make_network('ConvNetD1', 1, 10, (8, 8))
    with pytest.raises(UserError, match=message):
        Tiles(factor, (1, 8, 8), net)


def test_a_mix_needs_a_factor_and_enough_images(digits):
    with pytest.raises(UserError, match='--factor'):
        initial_images(digits, 2, 'mix', Rng('cpu', 0), Tiles(1, digits.shape))
    with pytest.raises(UserError, match='needs 160 images'):
        initial_images(digits, 40, 'mix', Rng('cpu', 0), Tiles(2, digits.shape))
    with pytest.raises(UserError, match='--ipc 40 x 2² tiles is more'):
        Coreset(digits, None, ipc=40, factor=2, rng=Rng('cpu', 0))


def test_one_centre_is_the_class_mean(digits):
    mean = initial_images(digits, 1, 'centres', Rng('cpu', 0))
    expected = torch.stack([digits.images(index).mean(0) for index in digits.indices_class])
    assert torch.allclose(mean, expected)


@pytest.mark.parametrize('factor', [1, 2])
def test_centres_are_means_of_the_images_nearest_to_them_as_shrunk(digits, factor):
    rngs = [Rng('cpu', seed) for seed in (0, 0)]
    centres, again = (class_centres(digits, 3, 4, rng, factor) for rng in rngs)
    assert centres.shape == (4, 1, 8, 8) and torch.equal(centres, again)
    images = digits.images(digits.indices_class[3])
    seen, of_centres = (F.avg_pool2d(x, factor).flatten(1) for x in (images, centres))
    nearest = torch.cdist(seen, of_centres).argmin(1)
    for number, centre in enumerate(centres):
        assert torch.allclose(images[nearest == number].mean(0), centre, atol=1e-3)


@pytest.mark.parametrize('method', ['DC', 'DM', 'random'])
def test_a_result_holds_decoded_and_stored_images(tmp_path, method):
    line = f'--dataset Digits --model ConvNetD1 --method {method} --factor 2 --ipc 2 '
    line += '--num_exp 1 --num_eval 1 --epoch_eval_train 1 '
    line += '' if method == 'random' else '--init mix --Iteration 1 '
    line += '--outer_loop 1 --inner_loop 1' if method == 'DC' else ''
    main.main([*line.split(), '--save_path', str(tmp_path)])
    result = load_result(next(tmp_path.glob('*/res_*.pt')))
    (images, labels), (stored, stored_labels) = result['data'][0], result['stored'][0]
    assert result['factor'] == 2
    assert images.shape == (80, 1, 8, 8) and stored.shape == (20, 1, 8, 8)
    assert torch.equal(Tiles(2, (1, 8, 8)).decode(stored), images)
    assert labels.tolist() == stored_labels.repeat_interleave(4).tolist()
