"""What will run is tried before it runs: networks, packages, files; divergence is said."""

import re
import sys

import numpy as np
import pytest
import torch
from conftest import error_of

import bench
import condense as condensing
import main as main_script
import main_BS
import main_eval
import main_report
from dataset.data import load_dataset
from engine.trial import check_network, last_batch
from evaluation import protocol
from evaluation.evaluate import evaluate_network
from features.kmeans import check_packages
from figures import gradient_error
from methods import METHODS
from methods.inner_loop import check_inner_loop
from utils import Rng, UserError

SHORT = '--num_exp 1 --num_eval 1 --epoch_eval_train 1 --compile off --device cpu'


@pytest.fixture
def tiny(tmp_path):
    """Return the path of data of three classes, seven images of 8x8 pixels in all."""
    rng, labels = np.random.default_rng(0), np.array([0, 0, 0, 1, 1, 2, 2])
    pixels = rng.integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    path = tmp_path / 'tiny.npz'
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    return path


@pytest.mark.parametrize(
    ('num', 'size', 'last'), [(7, 2, 1), (8, 2, 2), (3, 256, 3), (256, 256, 256), (10, 9, 1)]
)
def test_the_last_batch(num, size, last):
    assert last_batch(num, size) == last


@pytest.mark.parametrize(
    ('model', 'smallest', 'works'),
    [
        ('ResNet18', 2, False),  # its last norm sees one pixel: 0 whatever the image
        ('ResNet18BN', 1, False), ('ResNet18BN', 2, True), ('ResNet18BN_AP', 1, False),
        ('ConvNetBN', 1, True), ('ConvNetD4', 2, False), ('MLP', 1, True), ('VGG11', 1, True),
    ],
)  # fmt: skip
def test_networks_on_digits(digits, model, smallest, works):
    if works:
        check_network(model, digits, smallest, 'evaluation')
        return
    with pytest.raises(UserError, match='8x8'):
        check_network(model, digits, smallest, 'evaluation')


# Which condensing networks fail at 8x8 pixels, where evaluation is by an MLP. Of 3 x ipc images in
# batches of 2 the last has one image at ipc 1, and so has the last of 7 real ones.
LOOPS = '--outer_loop 2 --inner_loop 1'
REFUSED = {
    'DC': ('DC', f'--model ResNet18 {LOOPS}', 'ResNet18 .*8x8'),
    'DC in the inner loop': ('DC', f'--model ResNet18BN {LOOPS}', '--method DC: .*last batch of 1'),
    'DSA in the inner loop': ('DSA', f'--model ResNet18BN {LOOPS}', 'last batch of 1'),
    'adaptive': ('DC', '--model ResNet18BN --outer_loop 2 --schedule adaptive', 'batch of 1'),
    'DM': ('DM', '--model ResNet18 --init noise', '--method DM: ResNet18 '),
    'DD': ('DD', '--model ResNet18', '--method DD: ResNet18 '),
    'DD with batch norm': ('DD', '--model ConvNetBN', 'without batch norm'),
    'BPTT': ('BPTT', '--model ResNet18 --init noise', '--method BPTT: ResNet18 '),
    'IDC': ('IDC', '--model ResNet18 --factor 1 --init noise', '--method IDC: ResNet18 .*8x8'),
    'IDC on all images': ('IDC', '--model ResNet18BN --factor 1 --init noise', 'last batch of 1'),
    'too deep': ('DC', '--model ConvNetD4', 'depth 4.*8x8'),
    'forgetting': ('forgetting', '--model ResNet18BN', 'training on all images: .*last batch of 1'),
    'features': ('herding', '--feature_net ResNet18BN', 'training on all images: .*ResNet18BN'),
    'features of one image': ('kcenter', '--feature_net ResNet18', 'ResNet18 .*8x8'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_a_condensing_network_is_tried_first(case, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(protocol.POOLS, 'W', ('MLP',))
    method, words, message = REFUSED[case]
    line = f'--method {method} --dataset {tiny} {words} --batch_train 2 --eval_mode W {SHORT}'
    places = ['--save_path', tmp_path / 'runs', '--cluster_path', tmp_path / 'clusters']
    error = error_of(main_script, [*line.split(), *places], capsys)
    assert re.search(message, error), error
    assert not (tmp_path / 'runs').exists() and not list(tmp_path.glob('clusters/*.pt'))


RUNS = {
    'no inner loop': ('DC', '--model ResNet18BN --outer_loop 1 --inner_loop 1'),
    'no epoch of it': ('DSA', '--model ResNet18BN --init noise --outer_loop 2 --inner_loop 0'),
    'one pixel and batch norm': ('DM', '--model ResNet18BN --init noise'),
    'one image and norm': ('DC', f'--model ConvNetBN {LOOPS}'),
}


@pytest.mark.parametrize('case', RUNS)
def test_what_works_is_not_refused(case, tiny, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(protocol.POOLS, 'W', ('MLP',))
    method, words = RUNS[case]
    line = f'--method {method} --dataset {tiny} --Iteration 1 {words} --batch_train 2 '
    line += f'--eval_mode W --eval_every 0 {SHORT} --save_path {tmp_path}/runs'
    main_script.main(line.split())
    assert list(tmp_path.glob('runs/*/res_*.pt'))


def test_every_method_with_a_network_that_it_condenses_with_tries_it():
    for name in ('DC', 'DSA', 'DM', 'IDM', 'DD', 'BPTT', 'CAFE', 'IDC', 'DREAM'):
        assert callable(METHODS[name].check)
    assert METHODS['DSA'].check is check_inner_loop


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('--eval_mode W', 'evaluation: ResNet18 '),
        ('--model ConvNetBN --init mix', '--init mix'),
        ('--model MLP --init real --ipc 5 --outer_loop 1 --inner_loop 1', '--init real needs 5'),
        ('--model MLP --method DSA --dsa_strategy swirl', "'swirl'"),
        ('--model MLP --mask_quantile 0.5', '--mask_quantile 0.5'),
        ('--model MLP --tensorboard', 'pip install tensorboard'),
        ('--model MLP --save_path /dev/null/x', 'is no folder that may be written'),
    ],
)
def test_no_cluster_is_made_for_what_cannot_run(words, message, tiny, capsys, monkeypatch):
    monkeypatch.setitem(protocol.POOLS, 'W', ('ResNet18',))
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)

    def sampler(data, args):
        assert args.draw == 'uniform', 'clusters were made'

    monkeypatch.setattr(main_BS, 'make_sampler', sampler)
    line = f'--dataset {tiny} --num_cluster 1 --cluster_path {tiny.parent}/c {SHORT} '
    line += f'--save_path {tiny.parent}/runs {words}'
    assert message in error_of(main_BS, line.split(), capsys)
    assert not (tiny.parent / 'runs').exists()


def test_a_finished_run_needs_no_sampler(tiny, tmp_path, capsys, monkeypatch):
    line = f'--dataset {tiny} --model MLP --Iteration 1 {SHORT} --save_path {tmp_path}/runs'
    main_script.main(line.split())
    monkeypatch.setattr(condensing, 'try_everything', None)
    monkeypatch.setattr(main_script, 'make_sampler', None)
    main_script.main(line.split())
    assert 'is finished' in capsys.readouterr().out


@pytest.mark.parametrize(('package', 'balanced'), [('sklearn.cluster', False),
                                                   ('k_means_constrained', True)])  # fmt: skip
def test_packages_are_imported_before_the_work(package, balanced, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match='pip install'):
        check_packages(balanced)


@pytest.mark.parametrize(
    'words',
    [
        '--method kmeans',
        '--draw cluster --no-norm --num_cluster 1',
        '--method DM --init centres --ipc 2',
        '--init representative',
    ],
)
def test_nothing_is_trained_without_its_package(words, tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.cluster', None)
    line = f'{words} --dataset {tiny} --model MLP {SHORT} --save_path {tmp_path}/runs'
    line += f' --cluster_path {tmp_path}/clusters'
    assert 'pip install scikit-learn' in error_of(main_script, line.split(), capsys)
    assert not (tmp_path / 'clusters').exists()


def sets_of_two(tiny, tmp_path):
    """Make two result files of random sets: one of three images, and one of six."""
    for ipc in (1, 2):
        words = f'--synset random --dataset {tiny} --model MLP --ipc {ipc} {SHORT} --save_path'
        main_eval.main([*words.split(), str(tmp_path / f'ipc{ipc}')])
    return [next(tmp_path.glob(f'ipc{ipc}/*/res_*.pt')) for ipc in (2, 1)]


def test_every_file_is_tried_before_the_first_is_evaluated(tiny, tmp_path, capsys, monkeypatch):
    files = sets_of_two(tiny, tmp_path)
    capsys.readouterr()
    monkeypatch.setattr(main_eval, 'grouped', lambda synsets, typed: {(): dict.fromkeys(synsets)})
    monkeypatch.setattr(main_eval, 'evaluate_sets', None)  # it would be called too early
    line = f'--dataset {tiny} --eval_mode SS --model ResNet18BN --batch_train 2 {SHORT} --synset'
    assert 'last batch of 1' in error_of(main_eval, [*line.split(), *files], capsys)


@pytest.mark.parametrize('lr_net', ['1e30', '0.01'])
def test_divergence_of_an_evaluation_network_is_said(lr_net, tiny, tmp_path, capsys):
    line = f'--synset random --dataset {tiny} --model MLP {SHORT} --lr_net {lr_net}'
    main_eval.main([*line.split(), '--save_path', str(tmp_path)])
    error = capsys.readouterr().err
    assert ('MLP: its training diverged, so its accuracy is meaningless' in error) == (
        lr_net == '1e30'
    )
    assert list(tmp_path.glob('*/res_*.pt'))


def test_divergence_by_images_names_their_rate(tiny, capsys):
    data = load_dataset(str(tiny), 'data')
    images = torch.full((data.num_classes, *data.shape), 1e30)
    labels = torch.arange(data.num_classes)
    evaluate_network(
        images, labels, data, 'MLP', Rng('cpu', 0), strategy='None', epochs=1, lr_net=0.01,
        batch_train=8, precision='fp32',
    )  # fmt: skip
    said = capsys.readouterr().err
    assert 'a smaller --lr_net than 0.01, or --lr_img (the images reach 1e+30), may help' in said


UNWRITABLE = {
    'a folder': ('.', 'is a folder'),
    'no folder': ('/dev/null/x/table.csv', 'no folder that may be written'),
    'a device': ('/dev/full', 'device or a pipe'),
}


@pytest.mark.parametrize('case', UNWRITABLE)
@pytest.mark.parametrize('script', [main_eval, bench, gradient_error, main_report])
def test_where_a_table_goes_is_tried_first(script, case, capsys, monkeypatch):
    flag, words, first = {
        main_eval: ('--csv', ['--synset', 'random'], 'load_data'),
        bench: ('--out', [], 'load_dataset'),
        gradient_error: ('--out', [], 'load_data'),
        main_report: ('--out', [], 'collect'),
    }[script]
    monkeypatch.setattr(script, first, None)  # calling it would be a TypeError
    place, message = UNWRITABLE[case]
    assert message in error_of(script, [*words, flag, place], capsys)


@pytest.mark.parametrize('ending', ['.csv', '.xyz'])
def test_a_picture_has_an_ending_that_can_be_drawn(ending, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gradient_error, 'load_data', None)
    error = error_of(gradient_error, ['--out', tmp_path / f'x{ending}'], capsys)
    assert 'is no format of pictures' in error and 'png' in error


def test_a_missing_reference_is_named_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(bench, 'load_dataset', None)
    line = ['--reference', tmp_path / 'nowhere', '--out', tmp_path / 'bench.csv']
    assert 'nowhere holds no utils.py' in error_of(bench, line, capsys)


def test_the_network_of_gradients_is_tried_first(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gradient_error, 'measure', None)
    line = f'--dataset Digits --model ResNet18BN --out {tmp_path}/x.png --device cpu'
    assert 'gradients: ResNet18BN' in error_of(gradient_error, line.split(), capsys)
