"""Classes of 12, 3 and 1 images: every method takes what there is, and says so."""

import numpy as np
import pytest
import torch

import main as main_script
import main_BS
from experiment.result import load_result

SIZES = 12, 3, 1


@pytest.fixture
def small(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(range(3), SIZES)
    pixels = (60 * labels[:, None, None] + rng.integers(0, 30, (16, 8, 8))).astype('u1')
    np.savez(tmp_path / 'small.npz', x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    return tmp_path / 'small.npz'


def run(script, line, small, capsys):
    flags = f'--dataset {small} --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1 {line}'
    out = small.parent / 'out'
    script.main([*flags.split(), '--save_path', str(out), '--cluster_path', str(out / 'c')])
    return load_result(next(out.glob('*/res_*.pt')))['data'][0], capsys.readouterr().out


LOOPS = '--Iteration 2 --outer_loop 1 --inner_loop 1'


@pytest.mark.parametrize('method', ['DSA', 'DM --init centres', 'DM --init real'])
def test_a_learned_set_repeats_the_images_of_a_small_class(method, small, capsys):
    loops = '--Iteration 1' if 'DM' in method else LOOPS
    line = f'--method {method} --ipc 10 {loops}'
    flags = f'--dataset {small} --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1 {line}'
    main_script.main([*flags.split(), '--save_path', str(small.parent / 'out')])
    images, labels = load_result(next((small.parent / 'out').glob('*/res_*.pt')))['data'][0]
    assert labels.bincount().tolist() == [10, 10, 10] and images.isfinite().all()
    output = capsys.readouterr().out
    assert "class '2' has 1 of 10 images: it repeats them" in output


@pytest.mark.parametrize('method', ['random', 'mean', 'herding', 'kcenter', 'kmeans'])
def test_a_coreset_takes_all_of_a_small_class(method, small, capsys):
    features = '' if method in ('random', 'mean') else '--feature_net MLP'
    (images, labels), output = run_coreset(method, features, small, capsys)
    assert labels.bincount().tolist() == [10, 3, 1] and images.isfinite().all()
    assert output.count("class '1' has 3 of 10 images: it gives all that it has") == 1


def run_coreset(method, features, small, capsys):
    out = small.parent / 'out'
    flags = f'--dataset {small} --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1 --ipc 10 '
    flags += f'--method {method} {features} --save_path {out} --cluster_path {out}/c'
    main_script.main(flags.split())
    result = load_result(next(out.glob('*/res_*.pt')))
    return result['data'][0], capsys.readouterr().out


@pytest.mark.parametrize('balanced', ['', '--no-norm'])
def test_a_small_class_has_as_many_clusters_as_images(balanced, small, capsys):
    line = f'--ipc 1 {LOOPS} --feature_net PCA --num_cluster 5 {balanced}'
    (images, _), output = run(main_BS, line, small, capsys)
    assert images.isfinite().all() and "class '2' has 1 image: so many clusters" in output
    stored = torch.load(next((small.parent / 'out' / 'c').glob('*.pt')), weights_only=True)
    assert [len(of_class) for of_class in stored['clusters'].values()] == [5, 3, 1]
