"""Architecture search: the grid, rank correlations, budgets, and a search from end to end."""

import csv
import json
import os
import shlex
import signal
from functools import partial

import numpy as np
import process  # noqa: F401 (its server has imported what processes need: they start at once)
import pytest
import torch
from conftest import error_of, interrupt_after
from scipy.stats import spearmanr

from applications import architecture_search as script
from applications import training
from applications.correlation import correlation_text, rank_correlation, subsets, with_interval
from applications.grid import GRIDS, able, grid
from applications.sets import study_arguments
from applications.training import early_accuracy, splits
from networks import make_network
from utils import Rng, UserError

SMALL = '--dataset Digits --ipc 4 --epoch_eval_train 4 --epochs_real 1 --num_real 600'
SEARCH = f'{SMALL} --grid small D1 Nnone --proxies random early'


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch):
    monkeypatch.setattr(os, 'cpu_count', lambda: 2)  # whatever the machine has


def run(line, path, *more):
    script.main([*line.split(), '--save_path', str(path), *more])
    (ledger,) = path.glob('search_*/networks.json')
    networks = json.loads(ledger.read_text())['networks']
    return {key: own['accuracies'] for key, own in networks.items()}


def test_the_grids_have_720_and_36_networks():
    names = grid(['all'])
    assert len({*names}) == 720 and len(grid(['small'])) == 36 and {*grid(['small'])} < {*names}
    assert grid(['small', 'D2', 'Nbatch', 'Arelu']) == [
        'W32-D2-Nbatch-Arelu-Pmax', 'W32-D2-Nbatch-Arelu-Pavg'
    ]  # fmt: skip
    narrow = grid(['all', 'W32', 'Arelu', 'Pmax'])
    shapes = {len(list(make_network(name, 1, 10, (16, 16)).parameters())) for name in narrow}
    assert shapes == {2 * depth * norms + 2 for depth in GRIDS['all']['D'] for norms in (1, 2)}


def test_networks_too_deep_for_the_images_are_left_out(digits, capsys):
    names = grid(['all', 'W32', 'D1', 'D4', 'Nbatch', 'Arelu'])
    kept = able(names, digits, 4)
    assert len(names) == 6 and len(kept) == 4 and 'W32-D4-Nbatch-Arelu-Pnone' in kept
    assert '2 of 6 networks are left out' in capsys.readouterr().out


def test_rank_correlation_is_scipys_ties_included():
    rng = np.random.default_rng(0)
    ours, theirs = rng.integers(0, 8, (2, 5, 20))
    expected = [spearmanr(*pair).statistic for pair in zip(ours, theirs, strict=True)]
    assert rank_correlation(ours, theirs) == pytest.approx(expected)
    assert np.isnan(rank_correlation(np.ones(5), np.arange(5)))


def test_an_interval_holds_the_truth_about_as_often_as_it_says():
    rng, truth, hits = np.random.default_rng(1), 6 / np.pi * np.arcsin(0.7 / 2), 0
    for _ in range(25):
        one = rng.normal(size=36)
        other = 0.7 * one + (1 - 0.7**2) ** 0.5 * rng.normal(size=36)
        value, low, high = with_interval(one, other)
        assert low <= value <= high
        hits += low <= truth <= high
    assert hits >= 21
    assert with_interval(one, other) == (value, low, high)  # no randomness


def test_subsets_are_the_best_on_real_images():
    real = np.array([0.1, 0.9, 0.5, 0.7, 0.3, 0.2, 0.8])
    parts = subsets(real)
    assert parts['best third (3)'].tolist() == [1, 6, 3] and len(parts['all (7)']) == 7
    assert correlation_text(real, real, parts['best third (3)']) == '-'  # too few to say
    assert correlation_text(real, real, parts['all (7)']).startswith('+1.00')


def test_held_out_images_are_neither_trained_on_nor_the_test_images(digits):
    held_out, real = splits(digits, 300, seed=0)
    assert len(held_out.labels_test) == 134 and len(held_out.labels_train) == 300
    assert torch.equal(held_out.pixels_train, real.pixels_train)
    assert torch.equal(real.pixels_test, digits.pixels_test)
    trained, held = ({part.numpy().tobytes() for part in pixels} for pixels in
                     (splits(digits, None, 0)[1].pixels_train, held_out.pixels_test))  # fmt: skip
    assert len(trained & held) <= 2  # Digits holds a few images twice


def test_an_early_stop_sees_as_many_images_as_the_proxy(digits, monkeypatch):
    seen, plain = [], digits.normalise

    def normalise(pixels):
        seen.append(len(pixels))
        return plain(pixels)

    (name,) = grid(['small', 'D1', 'Nnone', 'Arelu', 'Pmax'])
    args = script.check_flags(
        script.study_arguments(script.make_parser(), SMALL.split(), **script.DEFAULTS)
    )
    passes = script.passes_of(args, digits)
    assert passes == 5 * 4 * 10  # epochs + 1, as the papers' code
    monkeypatch.setattr(digits, 'normalise', normalise)
    early_accuracy(digits, name, args, Rng('cpu', 0), passes)
    assert sum(seen) == passes + len(digits.labels_test)


@pytest.mark.parametrize(
    ('protocol', 'expected'),
    [
        ('dc', [(0.01, 11, False), (0.001, 10, False)]),
        ('idc', [(0.01, 14, True), (0.002, 4, True), (0.0004, 3, True)]),
    ],
)
def test_an_early_stop_has_the_schedule_of_the_protocol(protocol, expected, digits, monkeypatch):
    epochs = []

    def epoch(step, images, labels, batch_size, rng, augmentation, mix, num):
        epochs.append((step.optimizer.param_groups[0]['lr'], num, mix is not None))

    monkeypatch.setattr('applications.training.train_epoch', epoch)
    words = [*SMALL.split(), '--lr_net', '0.01', '--protocol', protocol]
    args = script.check_flags(
        script.study_arguments(script.make_parser(), words, **script.DEFAULTS)
    )
    (name,) = grid(['small', 'D1', 'Nnone', 'Arelu', 'Pmax'])
    early_accuracy(digits, name, args, Rng('cpu', 0), 21)
    assert [(pytest.approx(lr), num, mix) for lr, num, mix in epochs] == expected


def test_a_search_resumes_spreads_and_trains_nothing_twice(tmp_path, monkeypatch, capsys):
    straight = run(SEARCH, tmp_path / 'straight')
    assert len(straight) == 4 * 3  # two proxies and real images
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
        interrupt_after(5, patch)
        run(SEARCH, tmp_path / 'stopped')
    assert exit_.value.code == 143
    table, figure = tmp_path / 'a.csv', tmp_path / 'a.png'
    words = '--jobs', '2', '--csv', str(table), '--out', str(figure)
    capsys.readouterr()
    assert run(SEARCH, tmp_path / 'stopped', *words) == straight
    text = capsys.readouterr().out
    assert 'all (4)' in text and 'no search' in text and figure.stat().st_size > 1000
    assert len(list(csv.DictReader(table.open()))) == 4 * 2
    monkeypatch.setattr(script, 'Trainer', None)
    assert run(SEARCH, tmp_path / 'stopped') == straight
    (path,) = (tmp_path / 'stopped').glob('random_*/res_*.pt')
    with pytest.raises(TypeError):  # a file is another proxy, whose networks are missing
        run(SEARCH.replace('random', str(path)), tmp_path / 'stopped')


def die(args, sets, data=None):
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(args, sets, data=None):
    raise UserError('the reason')


@pytest.mark.parametrize(
    ('trainer', 'message'),
    [(die, 'a process that trained a network was killed'), (refuse, 'error: the reason')],
)
def test_a_process_that_fails_ends_the_search(trainer, message, tmp_path, monkeypatch, capsys):
    """Killed for its memory, or by an error of its own: nobody waits for it."""
    monkeypatch.setattr(script, 'begin', partial(begin_as, trainer))
    line = [*SEARCH.split(), '--jobs', '2', '--save_path', tmp_path]
    with pytest.raises(SystemExit) as exit_:
        script.main([str(word) for word in line])
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def begin_as(trainer, *values):
    training.Trainer = trainer
    training.begin(*values)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--grid large', '--grid begins with all or small'),
        ('--grid small D9', "no network has a part 'D9'"),
        ('--grid small D4', '--grid small D4 is empty'),
        ('--grid all D4 Pmax Arelu W32', 'no network of it can see these images'),
        ('--proxies DC --outer_loop 1 --inner_loop 1', 'make it: python main.py --method DC'),
        ('--proxies results/none.pt', 'no such file; python main.py --method DC'),
        ('--proxies better', '--proxies better is no method'),
        ('--proxies random --ipc 200', 'makes a set of 200 images a class'),
        ("--proxies early 'DM --Iteration 3' 'DM --Iteration=3'", 'missing; make it: python main'),
        ("--proxies random 'random '", "'random' and 'random ' are one set"),
        ("--proxies early 'herding --extractor a/b.pt'", 'a/b.pt: no such extractor'),
        ('--proxies early --num_real 12', '12 random training images of Digits have none of class'),
        ('--proxies early --num_real 12 --jobs 2', 'use a larger --num_real'),
        ('--proxies random --Iteration 3', '--Iteration does nothing for any of --proxies'),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(line, message, tmp_path, capsys):
    words = shlex.split(f'--dataset Digits {line} --save_path {tmp_path}')
    assert message in error_of(script, words, capsys)
    assert not list(tmp_path.iterdir())


def test_a_set_of_other_data_is_refused(digits, tmp_path, capsys):
    content = {
        'data': [[digits.images(torch.arange(20)), digits.labels_train[:20]]],
        'args': {'dataset': 'MNIST', 'data_hash': '0'},
    }
    torch.save(content, tmp_path / 'res.pt')
    line = ['--dataset', 'Digits', '--proxies', tmp_path / 'res.pt', '--save_path', tmp_path / 's']
    assert 'was condensed from MNIST' in error_of(script, line, capsys)
    with pytest.raises(UserError, match='empty'):
        grid(['small', 'W256'])


def test_jobs_are_no_more_than_cores(monkeypatch, capsys):
    monkeypatch.setattr(os, 'cpu_count', lambda: 1)
    parser = script.make_parser()
    words = ['--dataset', 'Digits', '--proxies', 'early', '--jobs']
    assert script.check_flags(study_arguments(parser, [*words, '1'], **script.DEFAULTS)).jobs == 1
    assert not capsys.readouterr().out
    assert script.check_flags(study_arguments(parser, [*words, '2'], **script.DEFAULTS)).jobs == 1
    assert '--jobs 2: 1 process, as many' in capsys.readouterr().out
