"""ZCA whitening: against NumPy, undone again, and through a whole run."""

import numpy as np
import pytest
import torch

import main as main_script
import main_eval
import main_export
from dataset.data import load_dataset
from dataset.whitening import Whitening
from evaluation.sets import read_sets
from experiment.result import load_result
from figures import grid
from utils import UserError

LINE = '--dataset Digits --model MLP --ipc 1 --num_exp 1 --num_eval 2 --epoch_eval_train 20'


@pytest.fixture(scope='module')
def white():
    return load_dataset('Digits', zca=True)


def test_it_is_the_formula(digits, white):
    pixels = digits.pixels_train.flatten(1).double().numpy() / 255
    covariance = np.cov(pixels, rowvar=False)  # divided by N - 1
    scales, directions = np.linalg.eigh(covariance)
    matrix = directions @ np.diag((scales + 0.1) ** -0.5) @ directions.T
    expected = (pixels[:50] - pixels.mean(0)) @ matrix
    found = white.normalise(white.pixels_train[:50]).flatten(1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_it_whitens_and_is_undone():
    """Without what is common to neighbours the covariance is near a multiple of the identity."""
    torch.manual_seed(0)
    common = torch.randn(4000, 1, 1, 1) * 60
    pixels = (common + torch.randn(4000, 2, 3, 3) * 10 + 128).clamp(0, 255).byte()
    whitening = Whitening(pixels)
    images = whitening(pixels.float() / 255)
    assert torch.allclose(whitening.undo(images), pixels.float() / 255, atol=1e-4)

    def largest_correlation(values):
        found = np.corrcoef(values.flatten(1).numpy(), rowvar=False)
        return np.abs(found - np.eye(len(found))).max()

    assert largest_correlation(pixels.float()) > 0.9
    assert largest_correlation(images) < largest_correlation(pixels.float()) - 0.1


def test_other_data_to_a_checkpoint_and_viewable(digits, white):
    assert digits.fingerprint != white.fingerprint
    shown = white.viewable(white.images(torch.arange(20)))
    assert torch.allclose(shown, digits.pixels_train[:20].float() / 255, atol=1e-4)


def test_a_whitened_run_from_start_to_pictures(tmp_path, white, digits):
    run = f'{LINE} --Iteration 2 --init real --zca --save_path {tmp_path / "run"}'
    main_script.main(run.split())
    path = next((tmp_path / 'run').glob('*zca=True*/res_*.pt'))
    result = load_result(path)
    assert result['zca'] == 0.1 and 'mean' not in result
    shown = white.viewable(result['data'][0][0])
    assert torch.allclose(result['viewable'][0], shown) and shown.std() > 0.1

    evaluate = f'{LINE.replace("--ipc 1 ", "")} --synset {path} --save_path {tmp_path / "out"}'
    main_eval.main(evaluate.split())  # the file says that it is whitened
    again = load_result(next((tmp_path / 'out').glob('*/res_*.pt')))
    assert again['accs_all_exps'] == result['accs_all_exps']
    with pytest.raises(
        UserError, match='was condensed from whitened images, but Digits is read without --zca'
    ):
        read_sets(path, digits)

    main_export.main(f'--synset {path} --out {tmp_path}/set.npz'.split())
    with np.load(tmp_path / 'set.npz') as archive:
        pixels = archive['x_train'][..., 0] / 255
    np.testing.assert_allclose(pixels, shown[:, 0].numpy(), atol=0.51 / 255)
    grid.main([str(path), '--out', str(tmp_path / 'grid.png')])
    assert (tmp_path / 'grid.png').stat().st_size > 3000
