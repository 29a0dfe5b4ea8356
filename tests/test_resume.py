"""A run stopped anywhere (Ctrl-C, SIGTERM, SIGKILL in the middle of a write, full disk) ends as an
uninterrupted one."""

import errno
import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch

import main as main_script
import main_eval
from experiment import run as run_module
from storage import files
from tests.process import start
from utils import UserError

ROOT = Path(__file__).parents[1]
EVERY = [
    '--dataset', 'Digits', '--model', 'MLP', '--ipc', '2', '--Iteration', '4',
    '--eval_every', '2', '--num_exp', '2', '--num_eval', '2', '--epoch_eval_train', '3',
    '--batch_real', '16', '--lr_img', '0.1',
]  # fmt: skip
LOOPS = ['--outer_loop', '2', '--inner_loop', '1']
RUN = [*EVERY, *LOOPS]
CHANGING = (
    'seconds',
    'evaluate_seconds',
    'peak_memory_mib',
)  # what two runs of one seed may differ in


def folder_of(path):
    return next(folder for folder in Path(path).iterdir() if folder.is_dir())


def outcome(path):
    """Everything that a run leaves and that must not depend on interruptions."""
    folder = folder_of(path)
    result = torch.load(next(folder.glob('res_*.pt')), weights_only=True)
    log = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    log = [{key: value for key, value in record.items() if key not in CHANGING} for record in log]
    return (
        result['data'],
        result['accs_all_exps'],
        log,
        sorted(picture.name for picture in folder.glob('vis_*.png')),
    )


def assert_same(first, second):
    for (images, labels), (images_other, labels_other) in zip(first[0], second[0], strict=True):
        assert torch.equal(images, images_other) and torch.equal(labels, labels_other)
    assert first[1:] == second[1:]


def run_saving_often(path):
    """Run and save at every opportunity."""
    run_module.CHECKPOINT_SECONDS = -1
    main_script.main([*RUN, '--save_path', str(path)])


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp('straight')
    main_script.main([*RUN, '--save_path', str(path)])
    return path


def test_the_same_seed_gives_the_same_and_another_seed_another(uninterrupted, tmp_path):
    main_script.main([*RUN, '--save_path', str(tmp_path / 'again')])
    assert_same(outcome(uninterrupted), outcome(tmp_path / 'again'))
    main_script.main([*RUN, '--save_path', str(tmp_path / 'other'), '--seed', '1'])
    assert not torch.equal(outcome(uninterrupted)[0][0][0], outcome(tmp_path / 'other')[0][0][0])


def test_a_run_leaves_what_the_readme_says(uninterrupted):
    folder = folder_of(uninterrupted)
    args = json.loads((folder / 'args.json').read_text())
    assert args['lr_img'] == 0.1 and args['command'][-2:] == ['--save_path', str(uninterrupted)]
    assert {'commit', 'torch', 'device'} <= args['environment'].keys()
    data, accs, log, pictures = outcome(uninterrupted)
    assert (
        len(data) == 2
        and data[0][0].shape == (20, 1, 8, 8)
        and data[0][1].tolist() == sorted(list(range(10)) * 2)
    )
    assert {model: len(values) for model, values in accs.items()} == {'MLP': 4}
    assert [(record['exp'], record['iteration']) for record in log if 'loss' in record] == [
        (exp, it) for exp in (0, 1) for it in (1, 2, 3, 4)
    ]
    evaluated = [record for record in log if 'accs' in record]
    assert [record['iteration'] for record in evaluated] == [0, 2, 4] * 2 and len(pictures) == 6
    assert evaluated[2]['accs']['MLP'] + evaluated[5]['accs']['MLP'] == accs['MLP']


def test_the_saved_set_is_the_evaluated_set(uninterrupted, capsys, tmp_path):
    """Judging the saved set again with the same seeds gives the same accuracies."""
    result = next(folder_of(uninterrupted).glob('res_*.pt'))
    flags = [
        '--dataset',
        'Digits',
        '--model',
        'MLP',
        '--num_eval',
        '2',
        '--epoch_eval_train',
        '3',
        '--num_exp',
        '2',
    ]
    accs = main_eval_accs([*flags, '--synset', str(result), '--save_path', str(tmp_path)])
    assert accs == outcome(uninterrupted)[1]


def main_eval_accs(argv):
    main_eval.main(argv)
    return outcome(argv[-1])[1]


def test_a_finished_run_says_so(uninterrupted, capsys):
    before = {
        path: path.stat().st_mtime_ns
        for path in folder_of(uninterrupted).iterdir()
        if path.name != 'lock'
    }
    main_script.main([*RUN, '--save_path', str(uninterrupted)])
    assert 'is finished' in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    'lines', [2, 3]
)  # in the middle of condensing, and of the second evaluation
def test_signal_saves_and_the_same_command_goes_on(uninterrupted, tmp_path, number, lines):
    process = start(run_saving_often, tmp_path / 'runs', output=tmp_path / 'output')
    log = tmp_path / 'runs' / folder_of(uninterrupted).name / 'log.jsonl'
    while process.is_alive() and (not log.exists() or log.read_bytes().count(b'\n') < lines):
        time.sleep(0.005)
    os.kill(process.pid, number)
    process.join(60)
    output = (tmp_path / 'output').read_text()
    assert process.exitcode == 128 + number, output
    assert 'the same command continues from here' in output and 'Traceback' not in output
    main_script.main([*RUN, '--save_path', str(tmp_path / 'runs')])
    assert_same(outcome(uninterrupted), outcome(tmp_path / 'runs'))


def run_until_killed(path, number):
    """Run until half of checkpoint `number` is written."""
    checkpoints, plain = [], files.write_atomic

    def write(path, content):
        if path.name == 'checkpoint.pt':
            checkpoints.append(path)
        if len(checkpoints) == number:
            with open(path.with_name(f'{path.name}.1.part'), 'wb') as file:
                file.write(bytes(content)[: len(content) // 2])
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        plain(path, content)

    files.write_atomic = run_module.write_atomic = write
    run_saving_often(path)


@pytest.mark.parametrize('number', [1, 4, 9])
def test_kill_in_the_middle_of_a_checkpoint_write(uninterrupted, tmp_path, number):
    path = tmp_path / 'runs'
    process = start(run_until_killed, path, number, output=tmp_path / 'output')
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / 'output').read_text()
    assert (folder_of(path) / 'checkpoint.pt.1.part').exists()
    assert (folder_of(path) / 'checkpoint.pt').exists() == (number > 1)
    (folder_of(path) / 'args.json.2.part').touch()  # of an earlier kill
    main_script.main([*RUN, '--save_path', str(path)])
    assert not list(folder_of(path).glob('*.part'))
    assert_same(outcome(uninterrupted), outcome(path))


def stop_early(path, monkeypatch, capsys, after=2, flags=RUN):
    """Run until the disk is full at checkpoint number `after` + 1; return the error line."""
    plain, writes = os.fsync, []

    def full(descriptor):
        writes.append(descriptor)
        if len(writes) > after + 2:  # args.json and the first picture come before
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        plain(descriptor)

    monkeypatch.setattr(run_module, 'CHECKPOINT_SECONDS', -1)
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(SystemExit) as exit_:
        main_script.main([*flags, '--save_path', str(path)])
    monkeypatch.undo()
    assert exit_.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def test_full_disk_keeps_the_old_checkpoint(uninterrupted, tmp_path, monkeypatch, capsys):
    line = stop_early(tmp_path, monkeypatch, capsys)
    assert 'No space left on device' in line and 'the same command' in line
    assert (folder_of(tmp_path) / 'checkpoint.pt').exists() and not list(
        folder_of(tmp_path).glob('*.part')
    )
    main_script.main([*RUN, '--save_path', str(tmp_path)])
    assert_same(outcome(uninterrupted), outcome(tmp_path))


@pytest.mark.parametrize(
    'flags',
    [
        '--method DM',
        '--method DD --inner_loop 1',
        '--method DREAM --model ConvNetD1 --outer_loop 2 --n_data 16 --batch_train 16 --num_exp 1',
        f'--method DSA --level both --schedule overfit --reduce maxpool1 {" ".join(LOOPS)}',
        f'--level contrast --factor 2 --init mix --momentum_net 0.9 {" ".join(LOOPS)}',
    ],
)
def test_every_method_goes_on(flags, tmp_path, monkeypatch, capsys):
    line = [*EVERY, *flags.split()]
    main_script.main([*line, '--save_path', str(tmp_path / 'straight')])
    stop_early(tmp_path / 'stopped', monkeypatch, capsys, after=4, flags=line)
    assert not list((tmp_path / 'stopped').glob('*/res_*.pt'))
    main_script.main([*line, '--save_path', str(tmp_path / 'stopped')])
    assert_same(outcome(tmp_path / 'straight'), outcome(tmp_path / 'stopped'))


def test_truncated_or_foreign_checkpoints_are_named(tmp_path, monkeypatch, capsys):
    def expect(message):
        with pytest.raises(SystemExit) as exit_:
            main_script.main([*RUN, '--save_path', str(tmp_path)])
        assert exit_.value.code == 2
        error = capsys.readouterr().err
        assert message in error and error.count('\n') == 1

    stop_early(tmp_path, monkeypatch, capsys)
    path = folder_of(tmp_path) / 'checkpoint.pt'
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    expect('checkpoint.pt cannot be read as a checkpoint')
    path.write_bytes(good)
    state = torch.load(path, weights_only=True)
    torch.save(state | {'args': state['args'] | {'lr_img': 0.7}}, path)
    expect('was made with --lr_img 0.7, this command has --lr_img 0.1')
    torch.save(state | {'args': state['args'] | {'device_type': 'cuda'}}, path)
    expect('was made with a device of the kind cuda, this command has a device of the kind cpu')
    torch.save([1, 2], path)
    expect('is no checkpoint of this project')
    assert path.exists()


def test_a_finished_run_is_reported_whatever_machine_made_it(tmp_path, capsys):
    accs = main_script.main([*RUN, '--save_path', str(tmp_path)])
    path = folder_of(tmp_path) / 'checkpoint.pt'
    state = torch.load(path, weights_only=True)
    torch.save(state | {'args': state['args'] | {'device_type': 'cuda'}}, path)
    capsys.readouterr()
    assert main_script.main([*RUN, '--save_path', str(tmp_path)]) == accs
    assert 'is finished' in capsys.readouterr().out


def test_divergence_keeps_the_last_good_checkpoint(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main_script.main([*RUN, '--save_path', str(tmp_path), '--lr_img', '1e30'])
    error = capsys.readouterr().err.splitlines()[-1]
    assert exit_.value.code == 2 and '--lr_img than 1e+30' in error


def test_a_network_that_diverged_is_not_saved(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module.Run, 'due', lambda self: True)
    line = [*RUN, '--save_path', str(tmp_path), '--ipc', '2', '--outer_loop', '2']
    with pytest.raises(SystemExit) as exit_:
        main_script.main([*line, '--inner_loop', '3', '--lr_net', '1e12', '--eval_every', '0'])
    error = capsys.readouterr().err.splitlines()[-1]
    assert exit_.value.code == 2 and '--lr_net than 1000000000000' in error
    assert 'not finite at iteration 0' in error and not list(tmp_path.glob('*/checkpoint.pt'))


def test_a_full_disk_is_reported_by_its_own_line(tmp_path, digits):
    run = run_module.Run(type('Args', (), {'save_path': tmp_path, 'run_name': 'x'})(), digits)

    class Full:
        def write(self, content):
            raise OSError(28, 'No space left on device')

        close = flush = write

    run._log = Full()
    Full.close = lambda self: self.write(b'')
    with pytest.raises(UserError, match='log.jsonl cannot be written .No space'), run:
        run.log({})


def test_two_processes_do_not_write_one_run(tmp_path, digits):
    args = type('Args', (), {'save_path': tmp_path, 'run_name': 'x'})()
    first = run_module.Run(args, digits)
    with pytest.raises(UserError, match='another process'):
        run_module.Run(args, digits)
    assert first.folder.exists()


def test_unwritable_results(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(SystemExit) as exit_:
        main_script.main([*RUN, '--save_path', str(tmp_path / 'file')])
    assert exit_.value.code == 2
