"""Several processes: the numbers of one, to the bit; one that dies; and mistakes, one line each."""

import contextlib
import importlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from processes import ranks
from utils import UserError

ROOT = Path(__file__).parents[1]
LINE = (
    '--dataset Digits --model ConvNetD1 --ipc 2 --num_exp 1 --num_eval 3 --epoch_eval_train 3'
    ' --eval_every 2 --Iteration 3'
)
LOOPS = '--outer_loop 2 --inner_loop 2'
TIMES = 'seconds', 'evaluate_seconds', 'peak_memory_mib'


def command(num, script, line, folder, port=0):
    """Return a command of num processes; one is started plainly."""
    port = port or free_port()
    torchrun = f'-m torch.distributed.run --nproc_per_node {num} --master_port {port}'
    start = torchrun.split() if num > 1 else []
    return [sys.executable, *start, script, *line.split(), '--save_path', str(folder)]


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


ENVIRONMENT = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}


def run(num, line, folder, script='main.py', **keywords):
    """Run a script by num processes of one thread; return what it printed."""
    if num == 1:  # here: to start a process takes longer than these runs
        threads, module = torch.get_num_threads(), importlib.import_module(script[:-3])
        torch.set_num_threads(1)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            module.main(command(1, '', line, folder)[2:])
        torch.set_num_threads(threads)
        return output.getvalue()
    done = subprocess.run(
        command(num, str(ROOT / script), line, folder),
        capture_output=True, text=True, env=ENVIRONMENT, timeout=300, **keywords,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def content(folder):
    """Return the result of the one run in folder, and its log without times."""
    (path,) = Path(folder).glob('*/res_*.pt')
    lines = (path.parent / 'log.jsonl').read_text().splitlines()
    log = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    return torch.load(path, weights_only=True), log


def assert_equal(folder, other):
    (result, log), (other_result, other_log) = content(folder), content(other)
    for pair, their in zip(result['data'], other_result['data'], strict=True):
        assert torch.equal(pair[0], their[0])
    assert result['accs_all_exps'] == other_result['accs_all_exps'] and log == other_log


@pytest.mark.parametrize(
    ('num', 'line'),
    [
        (3, f'--method DC {LOOPS}'),
        (2, f'--method DSA --level both --factor 2 {LOOPS}'),
        (2, f'--method DC --level inter {LOOPS}'),
        (3, '--method DM --batch_real 200'),
        (3, '--method DREAM --outer_loop 3 --n_data 32 --batch_real 20 --lr_img 0.1'),
    ],
)
def test_ranks_give_the_numbers_of_one_process(tmp_path, num, line):
    for count in (1, num):
        output = run(count, f'{LINE} {line}', tmp_path / str(count))
    assert_equal(tmp_path / '1', tmp_path / str(num))
    assert output.count('ConvNetD1 ') >= 1  # rank 0 alone prints
    assert output.count('folder ') == 1 and f'{num} share the work' in output


def test_clusters_and_batches_from_them(tmp_path):
    for count in (1, 2):
        own = tmp_path / str(count)
        line = f'{LINE} {LOOPS} --cluster_path {own}/clusters --num_cluster 3 --extractor_epochs 1'
        run(count, line, own / 'runs', 'main_BS.py')
    assert_equal(tmp_path / '1' / 'runs', tmp_path / '2' / 'runs')


def test_an_evaluation_is_shared(tmp_path):
    line = '--dataset Digits --model ConvNetD1 --synset random --num_exp 2 --num_eval 3'
    for count in (1, 2):
        run(count, f'{line} --epoch_eval_train 3', tmp_path / str(count), 'main_eval.py')
    assert_equal(tmp_path / '1', tmp_path / '2')


def children(pid):
    text = Path(f'/proc/{pid}/task/{pid}/children').read_text()
    return [int(child) for child in text.split()]


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs /proc')
def test_a_run_goes_on_after_a_rank_has_died(tmp_path):
    line = f'{LINE.replace("--Iteration 3", "--Iteration 25")} --method DC {LOOPS}'
    line = line.replace('--eval_every 2', '--eval_every 0').replace('--num_eval 3', '--num_eval 1')
    run(1, line, tmp_path / 'whole')
    words = command(2, str(ROOT / 'main.py'), line, tmp_path / 'stopped')
    script = (
        'import sys; import experiment.run as run; run.CHECKPOINT_SECONDS = 0.2\n'
        'import main; main.main(sys.argv[1:])'
    )
    (tmp_path / 'often.py').write_text(script)  # checkpoints come often, so that there is one
    words[words.index(str(ROOT / 'main.py'))] = str(tmp_path / 'often.py')
    with open(tmp_path / 'stderr', 'w') as stderr:
        process = subprocess.Popen(words, env=ENVIRONMENT, stderr=stderr, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob('stopped/*/checkpoint.pt')):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(children(process.pid)[-1], signal.SIGKILL)
        assert process.wait(120) != 0
    assert not list(tmp_path.glob('stopped/*/res_*.pt'))
    errors = re.findall(r'^error: .*', (tmp_path / 'stderr').read_text(), re.MULTILINE)
    assert len(errors) == 1 and 'another rank has ended' in errors[0]
    run(1, line, tmp_path / 'stopped')
    assert_equal(tmp_path / 'whole', tmp_path / 'stopped')


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs /proc')
def test_a_signal_to_one_rank_waits_for_the_checkpoint_of_the_first(tmp_path):
    # Saving takes long, and no earlier checkpoint is there: else an unfinished save would not show.
    script = (
        'import sys, time, experiment.run as run, main, methods.gradient_matching as matching\n'
        'save, step = run.save_tensors, matching.GradientMatching.step\n'
        'run.save_tensors = lambda *words: time.sleep(2) or save(*words)\n'
        'def marked(self, pause):\n'
        '    open(sys.argv[1], "w").close()\n'
        '    return step(self, pause)\n'
        'matching.GradientMatching.step = marked\n'
        'main.main(sys.argv[2:])'
    )
    (tmp_path / 'slow.py').write_text(script)
    line = f'{tmp_path}/begun {LINE.replace("--Iteration 3", "--Iteration 500")} {LOOPS}'
    words = command(2, str(tmp_path / 'slow.py'), line.replace('_every 2', '_every 0'), tmp_path)
    process = subprocess.Popen(
        words, env=ENVIRONMENT, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(children(process.pid)[-1], signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert 'stopped and saved in' in output and list(tmp_path.glob('*/checkpoint.pt'))


def start_by_hand(rank, port, line, folder, **environment):
    """Start one rank of two as torchrun would."""
    own = ENVIRONMENT | {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2'}
    own |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)} | environment
    own = {key: value for key, value in own.items() if value}
    return subprocess.Popen(
        command(1, str(ROOT / 'main.py'), line, folder), env=own, text=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_different_arguments_are_refused(tmp_path):
    port, line = free_port(), f'{LINE} {LOOPS}'
    processes = [start_by_hand(rank, port, f'{line} --seed {rank}', tmp_path) for rank in range(2)]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [2, 2]
    assert 'error: ranks 0 and 1 differ in arguments: seed 0 and 1' in errors[0]
    assert 'error: rank 1: ranks 0 and 1 differ' in errors[1]


def test_a_missing_rendezvous_is_one_line(tmp_path):
    process = start_by_hand(0, '', f'{LINE} {LOOPS}', tmp_path, MASTER_ADDR='', MASTER_PORT='')
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert re.search(r'^error: the ranks do not find each other.*torchrun$', errors, re.MULTILINE)


def test_every_rank_takes_a_gpu_of_its_own(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: None)
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('LOCAL_RANK', '1')
    assert ranks._own_gpu('cuda') == 'cuda:1'
    with pytest.raises(UserError, match='leave it out'):
        ranks._own_gpu('cuda:0')
    monkeypatch.setenv('LOCAL_RANK', '2')
    with pytest.raises(UserError, match='has 2 GPUs; use --nproc_per_node 2'):
        ranks._own_gpu('cuda')


def test_one_process_shares_nothing():
    tensor = torch.ones(2)
    ranks.add_up(tensor)
    assert tensor.tolist() == [1, 1] and ranks.largest(3) == 3 and ranks.from_first('a') == 'a'
    assert ranks.leads() and all(map(ranks.owns, range(5))) and ranks.first(lambda: 4) == 4
    ranks.check_same('anything', object())
