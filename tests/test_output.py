"""Output that cannot fail a run, signals at any moment, and files that others take away."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from experiment import run as run_module
from experiment.progress import Progress
from experiment.result import summary
from report.tables import cell_text
from storage.files import (
    check_writable,
    load_tensors,
    making,
    open_lock,
    save_tensors,
    write_atomic,
)
from tests.test_report import row_of
from utils import Shown, UserError, aligned, handling, plural, script

ROOT = Path(__file__).parents[1]
RUN = 'PY main.py --model MLP --ipc 1 --Iteration 2 --num_exp 1 --num_eval 1 --epoch_eval_train 1'


def shell(command, **env):
    """Run a line of bash in the project; return its exit code, stdout and stderr."""
    command = command.replace('PY', sys.executable)
    done = subprocess.run(
        ['bash', '-c', f'set -o pipefail; {command}'], cwd=ROOT, capture_output=True, text=True,
        env=os.environ | env,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


def test_signs_that_a_terminal_lacks_are_spelled():
    stream = io.TextIOWrapper(io.BytesIO(), 'ascii')
    Shown(stream).write('28.2 ± 0.7 … 2 x 2² – ü\n')
    stream.seek(0)
    assert stream.read() == '28.2 +- 0.7 ... 2 x 2^2 - ?\n'


@pytest.mark.parametrize('error', [BrokenPipeError, OSError, ValueError])
def test_a_stream_that_fails_is_dropped(error):
    class Broken(io.StringIO):
        def write(self, text):
            raise error('gone')

        flush = write

    shown = Shown(Broken())
    assert shown.write('words') == 5 and shown.write('more') == 4
    shown.flush()
    assert Shown(None).write('words') == 5


def test_foreign_words_do_not_steer_the_terminal():
    assert '\x1b' not in aligned([('a\x1b[2Jb', 'c\nd')]) and '\n' not in aligned([('a\nb',)])


@pytest.mark.parametrize(
    'rest',
    [' 2>&- | head -1', ' >/dev/full'],
)
def test_a_run_ends_though_nobody_sees_it(rest, few_digits, tmp_path):
    code, _, error = shell(f'{RUN} --dataset {few_digits} --save_path {tmp_path}{rest}')
    assert code == 0 and 'Traceback' not in error and 'Exception ignored' not in error
    assert list(tmp_path.glob('*/res_*.pt'))
    assert not any(path.stat().st_size == 0 for path in tmp_path.glob('*/*.jsonl'))


def test_a_terminal_that_is_not_utf8(few_digits, tmp_path):
    line = f'{RUN} --num_eval 2 --dataset {few_digits} --save_path {tmp_path}'
    code, output, error = shell(line, PYTHONIOENCODING='ascii')
    assert code == 0 and '+-' in output and 'Traceback' not in error


@pytest.mark.parametrize('words', ['main.py', '-m figures.grid'])
def test_ctrl_c_while_libraries_are_imported(words):
    process = subprocess.Popen(
        [sys.executable, *words.split(), '--help'], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and error == 'stopped by SIGINT\n'


def test_bars_that_go_to_a_file_are_rarely_written():
    code = 'import sys; sys.modules["__main__"].__file__ = "main.py"; import processes.start; '
    code += 'from tqdm import tqdm; bar = tqdm(range(9)); print(bar.mininterval)'
    assert shell(f"PY -c '{code}'")[1] == '60.0\n'


@pytest.mark.parametrize('name', ['SIGINT', 'SIGTERM', 'SIGHUP'])
def test_a_signal_outside_of_a_run_is_one_line(name, capsys):
    number = getattr(signal, name)

    def main(argv):
        os.kill(os.getpid(), number)
        time.sleep(5)

    before = signal.signal(number, signal.SIG_DFL)  # these tests may run under nohup
    try:
        with pytest.raises(SystemExit) as exit_:
            script(main)([])
    finally:
        signal.signal(number, before)
    assert exit_.value.code == 128 + number
    assert capsys.readouterr().err == f'stopped by {name}\n'


def test_a_second_signal_ends_with_its_own_number(tmp_path, digits, capsys):
    def main(argv):
        with run_of(tmp_path, digits):
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)

    with pytest.raises(SystemExit) as exit_:
        script(main)([])
    assert exit_.value.code == 143


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(lambda number, frame: None):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_the_system_refuses_is_one_line(tmp_path, capsys):
    def main(argv):
        (tmp_path / 'missing' / 'file').read_bytes()

    with pytest.raises(SystemExit) as exit_:
        script(main)([])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and 'missing/file: No such file' in error
    assert error.count('\n') == 1


def test_a_bug_says_that_it_is_one(capsys):
    with pytest.raises(KeyError):
        script(lambda argv: {}['missing'])([])
    assert 'bug of the program' in capsys.readouterr().err


def run_of(folder, data):
    return run_module.Run(type('Args', (), {'save_path': folder, 'run_name': 'x'})(), data)


def test_a_run_whose_folder_was_replaced_writes_nothing_more(tmp_path, digits):
    with run_of(tmp_path, digits) as run:
        run.checkpoint(Progress())
        (tmp_path / 'x').rename(tmp_path / 'moved')
        with pytest.raises(UserError, match='was moved or removed while this run wrote'):
            run.checkpoint(Progress())
        with run_of(tmp_path, digits):  # another process starts the same run
            with pytest.raises(UserError, match='nothing more is written'):
                run.checkpoint(Progress())
            assert not (tmp_path / 'x' / 'checkpoint.pt').exists()


def test_writers_of_one_file_do_not_tear_it(tmp_path):
    path, failed = tmp_path / 'file.pt', []

    def write(value):
        for _ in range(20):
            save_tensors(path, {'value': torch.full((1000,), value)})
            if load_tensors(path, 'file')['value'].unique().numel() != 1:
                failed.append(value)

    threads = [threading.Thread(target=write, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [part.name for part in tmp_path.iterdir()] == ['file.pt']


def test_links_that_were_planted_are_not_followed(tmp_path, digits):
    target = tmp_path / 'precious'
    target.write_text('all I have')
    (tmp_path / '.file.lock').symlink_to(target)
    with pytest.raises(UserError, match='cannot be written'), making(tmp_path / 'file'):
        pass
    for name in ('lock', 'log.jsonl'):
        (tmp_path / 'x').mkdir(exist_ok=True)
        (tmp_path / 'x' / name).symlink_to(target)
        with pytest.raises(UserError, match='cannot be written'):
            run_of(tmp_path, digits)
        (tmp_path / 'x' / name).unlink()
    with open_lock(tmp_path / 'own'):
        pass
    assert target.read_text() == 'all I have'


def test_a_failed_write_leaves_nothing_beside_it(tmp_path, monkeypatch):
    write_atomic(tmp_path / 'file', b'old')

    def stop(descriptor):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, 'fsync', stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / 'file', b'new')
    assert (tmp_path / 'file').read_bytes() == b'old' and len(list(tmp_path.iterdir())) == 1


def test_outputs_are_tried_before_the_work(tmp_path):
    (tmp_path / 'file').write_text('')
    os.mkfifo(tmp_path / 'pipe')
    check_writable(tmp_path / 'new' / 'deeper' / 'x.csv', '--csv')
    for name in ('', 'pipe', 'file/x.csv'):
        with pytest.raises(UserError, match='--csv'):
            check_writable(tmp_path / name, '--csv')
    if os.path.isdir('/proc/self'):  # its mode allows everything to root, but it takes no file
        with pytest.raises(UserError, match='no folder that may be written'):
            check_writable(Path('/proc/x.csv'), '--csv')
    with pytest.raises(UserError, match='is no file'):
        write_atomic(tmp_path / 'pipe', b'')


def test_one_network_has_no_deviation_and_no_plural():
    one, two = {'MLP': [0.412]}, {'MLP': [0.25, 0.75]}
    assert summary(one) == 'MLP 41.20 % (1 network)'
    assert summary(two) == 'MLP 50.00 ± 25.00 % (2 networks)'
    row = row_of(num=1, std=0.0, mean=28.0, epochs=1)
    assert (row.accuracy, row.how) == ('28.00', 'dc, 1 epoch')
    assert cell_text([row], []) == '**28.0**, 1 x 1 (–)'
    assert plural(0, 'class') == '0 classes' and plural(1, 'class') == '1 class'
