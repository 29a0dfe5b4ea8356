"""Continual learning: steps, memories, distillation, significance, and a study from end to end."""

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import error_of, interrupt_after

import main_report
from applications import architecture_search, sets
from applications import continual_learning as script
from applications.curves import gain, table
from applications.ledger import Ledger
from applications.sets import run_of, study_arguments, title
from applications.subsets import add_classes, class_steps, with_classes
from applications.tasks import TEMPERATURE, distillation, grey_arrays
from dataset.data import Data, load_dataset
from dataset.parts import say
from utils import UserError

SMALL = '--model MLP --ipc 4 --orders 2 --epoch_eval_train 10 --feature_net PCA --seed 1'
CLASSES = f'{SMALL} --dataset Digits --steps 2 --memories random herding full --epochs_real 8'
TASKS = '--model MLP --ipc 4 --orders 1 --epochs_real 1 --num_real 300 --memories random none full'


def run(line, path, *more):
    script.main([*line.split(), '--save_path', str(path), '--cluster_path', str(path / 'c'), *more])
    (ledger,) = path.glob('*/networks.json')
    return json.loads(ledger.read_text())['networks']


def test_steps_are_all_classes_in_an_order_of_their_own():
    steps = class_steps(10, 4, seed=0, order=0)
    assert [len(part) for part in steps] == [3, 3, 2, 2]
    assert sorted(sum(steps, [])) == list(range(10))
    assert class_steps(10, 4, 0, 0) == steps != class_steps(10, 4, 0, 1)


def test_some_classes_keep_pixels_names_and_normalisation(digits):
    part = with_classes(digits, [7, 2])
    assert part.num_classes == 2 and part.class_names == ('7', '2')
    assert torch.equal(part.images(part.indices_class[0]), digits.images(digits.indices_class[7]))
    assert len(part.labels_test) == sum((digits.labels_test == c).sum() for c in (2, 7))
    named = load_dataset(add_classes(digits, [2, 7]))
    assert named.name == 'Digits-8x8-2+7' and not named.mirrored
    assert torch.equal(named.images(named.indices_class[1]), part.images(part.indices_class[0]))


def test_colours_become_luminance_and_a_part_is_drawn():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 3, 2, 3), dtype=np.uint8)
    labels = np.arange(8) % 2
    data = Data('c', {'x_train': pixels, 'y_train': labels, 'x_test': pixels, 'y_test': labels})
    arrays = grey_arrays(data, 5, 0)
    expected = np.round(pixels @ np.array([0.299, 0.587, 0.114]))
    assert np.abs(arrays['x_test'] - expected).max() <= 1
    assert arrays['x_train'].shape == (5, 3, 2) and len(arrays['y_train']) == 5


def test_distillation_is_the_divergence_of_softened_outputs():
    new, old = torch.randn(2, 6, 4).double()
    p, q = (np.exp(part.numpy() / TEMPERATURE) for part in (old, new))
    p, q = (part / part.sum(1, keepdims=True) for part in (p, q))
    expected = TEMPERATURE**2 * (p * np.log(p / q)).sum(1).mean()
    assert distillation(new, old).item() == pytest.approx(expected)
    assert distillation(old, old).item() == pytest.approx(0, abs=1e-12)


def test_a_gain_is_paired_over_orders():
    base = np.array([[0.5, 0.3], [0.9, 0.7], [0.1, 0.1]])
    curves = {'random': base, 'herding': base - 0.01, 'DM': base + 0.02, 'DC': base[::-1] + 0.02}
    curves['DM'] = curves['DM'] + np.array([[0.001], [-0.001], [0.0]])
    mean, error = gain(curves['DM'], base)
    assert mean == pytest.approx(2) and error == pytest.approx(0.1 / 3**0.5)
    assert np.isnan(gain(base[:1], base[:1])[1])
    assert 'nan' not in table({row: part[:1] for row, part in curves.items()}, [5, 10], 'classes')
    text = table(curves, [1, 2], 'tasks')
    assert text.endswith('better than random and herding: DM')
    assert '1 task  ' in text and '2 tasks  ' in text


def test_a_study_of_classes_resumes_and_reuses_its_runs(tmp_path, monkeypatch, capsys):
    straight = run(CLASSES, tmp_path / 'straight')
    assert len(straight) == 2 * 2 * 3
    lines = capsys.readouterr().out
    assert '5 classes' in lines and 'better than random and herding' in lines
    full = [own['accuracies'][0] for key, own in straight.items() if 'full' in key]
    assert np.mean(full) > 0.6
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as exit_:
        interrupt_after(7, patch)
        run(CLASSES, tmp_path / 'stopped')
    assert exit_.value.code == 143
    table_, figure = tmp_path / 'a.csv', tmp_path / 'a.png'
    again = run(CLASSES, tmp_path / 'stopped', '--csv', str(table_), '--out', str(figure))
    assert {key: own['accuracies'] for key, own in again.items()} == {
        key: own['accuracies'] for key, own in straight.items()
    }
    rows = list(csv.DictReader(table_.open()))
    assert len(rows) == 12 and {row['classes_seen'] for row in rows} == {'5', '10'}
    assert figure.stat().st_size > 1000
    in_report(tmp_path / 'stopped', tmp_path / 'page.html', capsys)

    def none(*values, **keywords):
        raise AssertionError('a finished network is trained again')

    monkeypatch.setattr('applications.sets.evaluate_network', none)
    monkeypatch.setattr('applications.sets.condense', none)
    run(CLASSES, tmp_path / 'stopped')
    fewer = CLASSES.replace('--orders 2', '--orders 1').replace('random ', '')
    run(fewer, tmp_path / 'stopped')  # a part of the study is finished as well


def in_report(folder, html, capsys):
    """The table of a study stands in the report, on its page, and where it cannot be read."""
    command = 'python -m applications.'
    main_report.main(['--results', str(folder.parent), '--html', str(html)])
    shown = capsys.readouterr().out
    assert 'study stopped/classes_Digits_MLP' in shown and command in shown
    assert 'better than random and herding' in shown
    (table,) = folder.glob('*/table.txt')
    whole = table.read_bytes()
    page, lines = html.read_text(), whole.decode().splitlines()
    assert f'<code>{command}' in page and '\n'.join(lines[1:]) in page
    table.write_bytes(b'\xff\x1b[31m')
    main_report.main(['--results', str(folder)])
    assert 'table.txt cannot be read' in capsys.readouterr().out
    table.write_bytes(whole.partition(b'\n')[0])
    main_report.main(['--results', str(folder)])
    shown = capsys.readouterr().out
    assert command in shown and 'unfinished; this command continues it' in shown
    table.unlink()
    main_report.main(['--results', str(folder)])
    assert 'unfinished; the same command' in capsys.readouterr().out
    table.write_bytes(whole + b' ' * 2**20)
    main_report.main(['--results', str(folder)])
    assert 'table.txt cannot be read' in capsys.readouterr().out
    table.write_bytes(whole)


def test_a_memory_has_flags_of_its_own(tmp_path):
    """One method twice, with other flags each, and flags that all methods share."""
    own = ['BS --Iteration 1 --no-norm', 'BS', 'DC --recipe dcc']
    args = script.check_flags(
        study_arguments(
            script.make_parser(), ['--memories', *own, '--Iteration', '2'], **script.DEFAULTS
        )
    )
    runs = [run_of(args, name, 'Digits', 0) for name in args.memories]
    assert [run.Iteration for run in runs] == [1, 2, 2]
    assert [run.norm for run in runs[:2]] == [False, True]
    titles = [title(*pair) for pair in zip(own, runs, strict=True)]
    assert titles[:2] == ['BS Iteration=1 norm=False', 'BS Iteration=2']
    assert titles[2].startswith('DC Iteration=2 ') and 'level=contrast' in titles[2]


def test_a_memory_says_what_is_news_of_its_run(digits, tmp_path, monkeypatch, capsys):
    def plan_and_news(method, data, sampler, run):
        print('method      DC')
        say(data.name, 'class 7 has 1 of 2 images')
        raise UserError('the end')

    monkeypatch.setattr('applications.sets.condense', plan_and_news)
    parser = sets.study_parser('', {})
    args = study_arguments(parser, ['--dataset', 'Digits', '--save_path', str(tmp_path)])
    with pytest.raises(UserError, match='the end'):
        sets.made_set(run_of(args, 'DC', 'Digits', 0), digits)
    said = capsys.readouterr().out
    assert 'Digits: class 7 has 1 of 2 images' in said and 'method' not in said


def test_tasks_in_turn_continue_from_the_network_before(few_digits, tmp_path, capsys):
    line = f'{TASKS} --tasks Digits {few_digits} --im_size 8'
    straight = run(line, tmp_path / 'straight')
    # One first network, and a second by each memory with and without distillation.
    assert len(straight) == 1 + 3 * 2
    assert 'random + distillation' in capsys.readouterr().out
    folder = next((tmp_path / 'straight').glob('tasks_*'))
    path = folder / 'networks.json'
    content = json.loads(path.read_text())
    del content['networks']['random + distillation, repetition 0, task 1']
    path.write_text(json.dumps(content))
    again = run(line, tmp_path / 'straight')
    assert {key: own['accuracies'] for key, own in again.items()} == {
        key: own['accuracies'] for key, own in straight.items()
    }
    assert all(len(own['accuracies']) == int(key[-1]) + 1 for key, own in straight.items())


def test_tasks_are_square(tmp_path, capsys):
    pixels = np.arange(20 * 8 * 12, dtype=np.uint8).reshape(20, 8, 12)
    arrays = {'x_train': pixels, 'y_train': np.arange(20) % 10}
    arrays |= {'x_test': pixels, 'y_test': np.arange(20) % 10}
    np.savez(tmp_path / 'wide.npz', **arrays)
    with pytest.raises(SystemExit) as exit_:
        run(f'{TASKS} --tasks {tmp_path}/wide.npz Digits', tmp_path / 'runs')
    assert exit_.value.code == 2 and 'are not square; pass --im_size' in capsys.readouterr().err


@pytest.mark.parametrize('other', [script, architecture_search])
def test_documented_commands_parse(other):
    name = other.__name__.split('.')[-1]
    texts = other.__doc__, (Path(__file__).parents[1] / 'docs' / 'applications.md').read_text()
    lines = re.findall(
        rf'python -m applications\.{name}([^\n#]*)', '\n'.join(texts).replace('\\\n', '')
    )
    assert len(lines) >= 4
    for line in lines:
        study_arguments(other.make_parser(), shlex.split(line), **other.DEFAULTS)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--dataset Digits --steps 11', '--steps 11 is too many for the 10 classes'),
        ('--dataset Digits --steps 6', 'use at most 5'),
        ('--dataset Digits --ipc 200 --memories random', '--ipc 200 makes a set of 200 images'),
        ('--dataset Digits --memories random better', '--memories better is no method'),
        ("--dataset Digits --memories 'DC --recipe swift'", "invalid choice: 'swift'"),
        ('--dataset Digits --memories none', 'none is no method'),
        ("--dataset Digits --memories 'full --ipc 3'", 'full takes no flags'),
        ("--dataset Digits --memories 'DC --ipc=3'", '--ipc=3 is the same for all sets'),
        ("--dataset Digits --memories 'DC --draw cluster'", '--draw is the same for all sets'),
        ("--dataset Digits --memories 'DC -h'", '-h is the same for all sets, or not taken'),
        ("--dataset Digits --memories 'random --no-zca'", '--no-zca is the same for all sets'),
        (
            "--dataset Digits --memories 'random --Iteration 3'",
            "'random --Iteration 3': --Iteration does",
        ),
        ('--dataset Digits --memories "\'DC"', 'these quotes hold no set'),
        ('--dataset Digits --memories random random', 'a name is there twice'),
        (
            "--dataset Digits --memories DM 'DM --init real'",
            "'DM' and 'DM --init real' are one set",
        ),
        ("--dataset Digits --memories full 'DM --factor 3' --ipc 2", '--factor 3 does not divide'),
        (
            "--tasks Digits few --memories full 'DM --factor 3' --ipc 2",
            '--factor 3 does not divide',
        ),
        ("--tasks Digits few --memories random 'random '", "'random' and 'random ' are one set"),
        ('--tasks Digits few --memories none --model ConvNetD4', 'a ConvNet of depth 4 halves'),
        ('--tasks Digits few --num_real 12', 'of Digits have none of class'),
        ('--dataset Digits --memories random --Iteration 3', '--Iteration does nothing for any'),
        ('--tasks Digits', 'needs two tasks or more'),
        ('--tasks Digits Digits', 'a data set is there twice'),
        ('--tasks Digits MNIST --steps 2', 'leave out --steps and --dataset'),
        ('--tasks Digits MNIST --protocol dc', '--protocol does nothing with --tasks'),
        ('--dataset Digits --num_real 5', '--num_real does nothing without --tasks'),
        ('--dataset Digits --csv no_folder_of_it', 'ends in .csv'),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_trained(
    line, message, few_digits, tmp_path, capsys
):
    line = shlex.split(line.replace(' few ', f' {few_digits} '))
    assert message in error_of(script, [*line, '--save_path', tmp_path], capsys)
    assert not list(tmp_path.iterdir())


def test_a_ledger_is_locked_and_checked(tmp_path):
    with Ledger(tmp_path, 'study', {'seed': 0}, 'python') as ledger:
        table = ledger.folder / 'table.txt'
        table.write_text('of fewer networks')
        ledger.add('one', [0.5], 1.0)
        assert table.read_text() == 'python\n'  # the command stays
        with pytest.raises(UserError, match='another process'):
            Ledger(tmp_path, 'study', {'seed': 0}, 'python').__enter__()
        with Ledger(tmp_path, 'study', {'seed': 1}, 'python') as other:
            assert 'one' not in other and other.folder != ledger.folder
    part = ledger.folder / 'weights.pt.1.part'  # of a process that was killed
    part.touch()
    with Ledger(tmp_path, 'study', {'seed': 0}, 'python') as ledger:
        assert ledger.accuracies('one') == [0.5] and not part.exists()
    ledger.path.write_text('{"settings": {}, "networks": {"one": {"accuracies": [2]}}}')
    with pytest.raises(UserError, match='no list of networks'):
        Ledger(tmp_path, 'study', {'seed': 0}, 'python').__enter__()
