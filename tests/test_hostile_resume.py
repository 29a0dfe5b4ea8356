"""What a run continues from: whole and of this run, or one line; and what it leaves can be read."""

import copy
import shutil

import pytest
import torch
from conftest import error_of

import condense as condensing
import main as main_script
import main_eval
import main_report
from engine.own_network import own_network
from evaluation.sets import read_sets
from experiment import run as run_module
from experiment.checkpoint import check_within, progress_of, same
from experiment.progress import Progress
from experiment.result import load_result
from features import fine_tuning
from storage.files import MOST, check_writable, load_tensors, write_atomic
from utils import UserError

SMALL = '--dataset Digits --model MLP --ipc 1 --num_exp 1 --num_eval 1 --epoch_eval_train 1'
RUN = f'{SMALL} --Iteration 2 --outer_loop 1 --inner_loop 1 --eval_every 0 --batch_real 8'


@pytest.fixture(autouse=True)
def small_extractor(monkeypatch):
    """Let the extractor be an MLP, which takes no time."""
    plain = fine_tuning.network_for
    monkeypatch.setattr(fine_tuning, 'network_for', lambda name, *rest: plain('MLP', *rest))


def make(digits, folder, stopped=None):
    """Make an extractor of three epochs; return it. stopped: the state that it continues from."""
    if stopped:
        torch.save(stopped, folder / 'x.unfinished.pt')
    fine_tuning.make_extractor(digits, folder / 'x.pt', epochs=3, seed=0, precision='fp32')
    return load_tensors(folder / 'x.pt', 'extractor')


def after_two_epochs(digits, folder):
    """Return the state of an extractor after two epochs of three, and the end."""
    states, plain = [], fine_tuning.save_tensors

    def keep(path, state):
        states.append(copy.deepcopy(state))
        plain(path, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fine_tuning, 'save_tensors', keep)
        end = make(digits, folder)
    return states[1], end


def test_an_extractor_that_was_stopped_ends_as_without_the_stop(digits, tmp_path):
    stopped, end = after_two_epochs(digits, tmp_path)
    assert same(make(digits, tmp_path, stopped), end)
    assert [path.name for path in tmp_path.iterdir()] == ['x.pt']


ODD = None, 'word', -1, float('nan'), 10**30, [], {}, torch.zeros(2)


def test_a_damaged_unfinished_extractor_is_refused(digits, tmp_path):
    stopped, _ = after_two_epochs(digits, tmp_path)
    assert len(stopped) == 8
    for part in stopped:
        for value in ODD:
            damaged = {key: old for key, old in stopped.items() if key != part}
            damaged |= {} if value is None else {part: value}
            if (part, value) == ('data', 'word'):
                continue  # of other data: it is begun again
            with pytest.raises(UserError, match='no unfinished extractor'):
                make(digits, tmp_path, damaged)
    next(iter(stopped['net'].values())).view(-1)[0] = float('nan')
    with pytest.raises(UserError, match='no unfinished extractor'):
        make(digits, tmp_path, stopped)


PAIR = [torch.zeros(10, 1, 8, 8), torch.arange(10)]
MIDDLE = {'exp': 1, 'iteration': 2, 'sets': [PAIR], 'accs_all_exps': {'MLP': [0.5]}}
MIDDLE |= {'method': {'iteration': 2}}
ODD_PROGRESS = {
    'a given set in the middle': {'given': [PAIR], 'method': {}},
    'given parts too many': {'iteration': 3, 'given': [PAIR, PAIR], 'method': {}},
    'no given part': {'iteration': 3, 'given': [], 'method': {}},
    'evaluated at the end': {'iteration': 3, 'method': {'iteration': 3}, 'evaluated': True},
    'accuracies too many': {'accs': {'MLP': [0.5, 0.5]}},
    'tiles of a run without': {'stored': [PAIR]},
}


@pytest.mark.parametrize('case', ODD_PROGRESS)
def test_progress_that_no_run_leaves_is_refused(case, tmp_path):
    args = {'num_exp': 2, 'Iteration': 3, 'num_eval': 1}
    good = vars(Progress(**copy.deepcopy(MIDDLE)))
    check_within(tmp_path, progress_of({'progress': good}), args)
    with pytest.raises(UserError, match='are there|is there'):
        check_within(tmp_path, progress_of({'progress': good | ODD_PROGRESS[case]}), args)


@pytest.mark.parametrize('lost', [10, 10_000])
def test_a_log_that_lost_its_tail_stays_readable(lost, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, 'CHECKPOINT_SECONDS', -1)
    line = [*RUN.split(), '--save_path', str(tmp_path)]

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(condensing, 'save_result', stop)
        main_script.main(line)
    log = next(tmp_path.glob('*/log.jsonl'))
    content = log.read_bytes()
    log.write_bytes(content[: max(0, len(content) - lost)])
    main_script.main(line)
    assert 'log.jsonl lacks its last' in capsys.readouterr().out
    whole = content[:-1].rpartition(b'\n')[0] + b'\n'
    assert log.read_bytes() == (whole if lost < 100 else b'')
    main_report.main(['--results', str(tmp_path)])
    assert 'cannot be read' not in capsys.readouterr().out


# What is written can be read again


def test_numbers_that_leave_float32_are_refused(digits, tmp_path):
    path = tmp_path / 'x.pt'
    soft = torch.eye(10, dtype=torch.float64) * 1e300
    for content in (
        {'data': [[PAIR[0], soft]]},
        {'data': [[torch.full((10, 1, 8, 8), 1e38), PAIR[1]]], 'mean': [0.0], 'std': [1e5]},
    ):
        torch.save(content, path)
        with pytest.raises(UserError):
            read_sets(path, digits)


def test_a_result_of_a_long_name_can_be_written(tmp_path, capsys):
    path = tmp_path / f'{"n" * 240}.pt'
    torch.save({'data': [PAIR]}, path)
    line = f'--dataset Digits --model MLP --num_eval 1 --epoch_eval_train 1 --save_path {tmp_path}'
    main_eval.main([*line.split(), '--synset', str(path)])
    (result,) = tmp_path.glob('*/res_*.pt')
    assert len(result.name) == MOST and load_result(result)['accs_all_exps']
    main_eval.main([*line.split(), '--synset', str(path)])
    assert 'is finished' in capsys.readouterr().out


def test_a_name_that_cannot_be_written_is_refused_before_the_work(tmp_path, capsys):
    path = tmp_path / f'{"c" * (MOST - 4)}.csv'
    check_writable(path, '--csv')
    write_atomic(path, b'')
    line = ['--synset', 'random', '--csv', f'{path}'.replace('.csv', 'c.csv')]
    assert 'its name is too long' in error_of(main_eval, line, capsys)


def test_a_builder_of_a_long_name_fits_into_names(tmp_path):
    path, name = tmp_path / 'net.py', 'b' * 200
    path.write_text(f'def {name}(channel, num_classes, im_size):\n    pass\n')
    assert len(own_network(f'{path}:{name}')) < 80


def test_a_result_is_not_written_into_another_folder(tmp_path, monkeypatch, capsys):
    plain = condensing.save_result

    def replaced(run, *rest):
        shutil.move(run.folder, tmp_path / 'moved')
        run.folder.mkdir()
        plain(run, *rest)

    monkeypatch.setattr(condensing, 'save_result', replaced)
    with pytest.raises(SystemExit) as exit_:
        main_script.main([*RUN.split(), '--save_path', str(tmp_path / 'runs')])
    assert exit_.value.code == 2 and 'was moved or removed' in capsys.readouterr().err
    assert not list(tmp_path.glob('runs/*/*')) and list(tmp_path.glob('moved/checkpoint.pt'))
