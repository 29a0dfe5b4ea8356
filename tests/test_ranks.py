"""Several processes: the numbers of one, to the bit; one that dies; and mistakes, one line each."""

import importlib
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

import main as main_script
from experiment import run as run_module
from methods.gradient_matching import GradientMatching
from processes import ranks
from tests.conftest import error_of
from tests.process import start
from utils import UserError

ROOT = Path(__file__).parents[1]
LOOPS = '--outer_loop 2 --inner_loop 2'
CLUSTERS = '--num_cluster 3 --extractor_epochs 1'
EVALUATION = '--model MLP --num_eval 3 --epoch_eval_train 3'
LINE = f'{EVALUATION} --ipc 2 --num_exp 1 --eval_every 2 --Iteration 3'
TIMES = 'seconds', 'evaluate_seconds', 'peak_memory_mib'


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def command(num, script, line):
    """Return a command of num processes that torchrun starts."""
    start = f'-m torch.distributed.run --nproc_per_node {num} --master_port {free_port()}'
    return [sys.executable, *start.split(), str(script), *line.split()]


ENVIRONMENT = os.environ | {'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT)}
# A script that saves whenever it can, and the run that it makes.
OFTEN = """
import os, sys, time, experiment.run, main, methods.gradient_matching
experiment.run.CHECKPOINT_SECONDS, matching = 0, methods.gradient_matching.GradientMatching
{}
main.main(sys.argv[1:])
"""


def said_by(num, script, line):
    """Run a script as torchrun does; return what its ranks print to stderr."""
    words = command(num, script, line)
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True).stderr


def errors_in(text):
    """Return the lines that tell the user of an error."""
    return re.findall('^error: .*', text, re.MULTILINE)


def run(words, script='main.py'):
    """Run a script here, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    importlib.import_module(script[:-3]).main(words)
    torch.set_num_threads(threads)


def start_ranks(num, function, *args, folder, **environment):
    """Start function(*args) on num ranks of one thread, as torchrun would, but at once.

    Return the processes; rank r prints into folder/r.
    """
    own = {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(free_port())}
    own |= {'WORLD_SIZE': str(num), 'LOCAL_WORLD_SIZE': str(num)} | environment
    folder.mkdir()
    numbers = [{'RANK': str(rank), 'LOCAL_RANK': str(rank)} for rank in range(num)]
    return [start(function, *args, output=folder / own_['RANK'], **own, **own_) for own_ in numbers]


def ended(processes):
    """Wait for processes; return their exit codes."""
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


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


# Of one job of ranks: its processes start once, which takes longer than the runs.
JOBS = {
    2: [
        ('main.py', f'{LINE} --method DSA --level both --factor 2 {LOOPS}'),
        ('main.py', f'{LINE} --method DC --level inter {LOOPS}'),
        ('main.py', f'{LINE} --method CAFE --batch_real 40 --outer_loop 2 --inner_loop 11'),
        ('main_BS.py', f'{LINE} {LOOPS} --cluster_path <own> {CLUSTERS}'),
        ('main_eval.py', f'{EVALUATION} --synset random --num_exp 2'),
    ],
    3: [
        ('main.py', f'{LINE} --method DC {LOOPS}'),
        ('main.py', f'{LINE} --method DM --batch_real 200'),
        ('main.py', f'{LINE} --method BPTT --inner_loop 2'),
        ('main.py', f'{LINE} --method IDM --num_nets 4 --n_data 32'),
        (
            'main.py',
            f'{LINE} --method DREAM --model ConvNetD1 --outer_loop 3 --n_data 32 --batch_real 8',
        ),
    ],
}


def do_jobs(jobs):
    for script, words in jobs:
        importlib.import_module(script[:-3]).main(words)


@pytest.mark.parametrize('num', JOBS)
def test_ranks_give_the_numbers_of_one_process(tmp_path, few_digits, num):
    jobs = []
    for job, (script, line) in enumerate(JOBS[num]):
        for count in (1, num):
            own = tmp_path / str(count) / str(job)
            line_ = f'--dataset {few_digits} --save_path {own}/runs {line}'
            words = line_.replace('<own>', str(own)).split()
            if count == 1:
                run(words, script)
            else:
                jobs.append((script, words))
    codes = ended(start_ranks(num, do_jobs, jobs, folder=tmp_path / 'output'))
    leader, *others = (path.read_text() for path in sorted((tmp_path / 'output').iterdir()))
    assert codes == [0] * num, others
    for job in range(len(jobs)):
        assert_equal(tmp_path / '1' / str(job) / 'runs', tmp_path / str(num) / str(job) / 'runs')
    assert f'{num} share the work' in leader and ' networks)' in leader
    assert not any(' networks)' in output for output in others)


def children(pid):
    text = Path(f'/proc/{pid}/task/{pid}/children').read_text()
    return [int(child) for child in text.split()]


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs /proc')
@pytest.mark.parametrize('killed', [0, 2])
def test_a_run_goes_on_after_a_rank_has_died(tmp_path, few_digits, killed):
    # It is slow from its first checkpoint on: the kill comes between two of them.
    slow = (
        'match = matching.match\n'
        'def slow(self):\n'
        '    time.sleep(0.5 if self.outer or self.iteration else 0)\n'
        '    match(self)\n'
        'matching.match = slow'
    )
    (tmp_path / 'often.py').write_text(OFTEN.format(slow))
    line = f'--dataset {few_digits} {LINE} {LOOPS} --save_path'
    run(f'{line} {tmp_path}/whole'.split())
    words = command(3, tmp_path / 'often.py', f'{line} {tmp_path}/stopped')
    with open(tmp_path / 'stderr', 'w') as stderr:
        process = subprocess.Popen(words, env=ENVIRONMENT, stderr=stderr, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob('stopped/*/checkpoint.pt')):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(children(process.pid)[-3:][killed], signal.SIGKILL)
        assert process.wait(120) != 0
    assert not list(tmp_path.glob('stopped/*/res_*.pt'))
    said = (tmp_path / 'stderr').read_text()
    (error,) = errors_in(said)
    assert 'another rank has ended' in error
    assert 'Interrupted' not in said
    run(f'{line} {tmp_path}/stopped'.split())
    assert_equal(tmp_path / 'whole', tmp_path / 'stopped')


def save_slowly(begun, words):
    """Run; saving takes long, and the first step writes the file begun."""
    save, step = run_module.save_tensors, GradientMatching.step
    run_module.save_tensors = lambda *own: time.sleep(1) or save(*own)
    GradientMatching.step = lambda self, pause: begun.touch() or step(self, pause)
    main_script.main(words)


def test_a_signal_to_one_rank_waits_for_the_checkpoint_of_the_first(tmp_path, few_digits):
    # No earlier checkpoint is there: else an unfinished save would not show.
    line = f'--dataset {few_digits} {LINE} {LOOPS} --save_path {tmp_path}/runs'
    line = line.replace('_every 2', '_every 0')
    words, begun = line.replace('--Iteration 3', '--Iteration 500').split(), tmp_path / 'begun'
    processes = start_ranks(2, save_slowly, begun, words, folder=tmp_path / 'output')
    while not begun.exists():
        assert all(process.is_alive() for process in processes)
        time.sleep(0.02)
    os.kill(processes[1].pid, signal.SIGTERM)
    assert ended(processes) == [143, 143]
    assert 'stopped and saved in' in (tmp_path / 'output' / '0').read_text()
    assert list(tmp_path.glob('runs/*/checkpoint.pt'))


def test_a_mistake_that_all_ranks_make_is_said_once(tmp_path, few_digits):
    said = said_by(2, ROOT / 'main.py', f'--dataset {few_digits} {LINE} {LOOPS} --factor 3')
    (error,) = errors_in(said)
    assert '--factor 3 does not divide' in error
    assert 'Interrupted' not in said


@pytest.mark.skipif(not Path('/proc/self/task').is_dir(), reason='needs /proc')
def test_no_thread_of_the_ranks_outlives_them(tmp_path, few_digits):
    # A thread that needs Python while it ends aborts the process, but seldom: so none may be left.
    script = (
        'import atexit, sys, os\n'
        'tasks = "/proc/self/task"\n'
        'name = lambda task: open(f"{tasks}/{task}/comm").read().strip()\n'
        'names = lambda: " ".join(map(name, os.listdir(tasks)))\n'
        # One write: the lines of two ranks must not mix.
        'atexit.register(lambda: os.write(2, f"\\nat the end: {names()}\\n".encode()))\n'
        'import main\n'
        'main.main(sys.argv[1:])'
    )
    (tmp_path / 'threads.py').write_text(script)
    line = f'--dataset {few_digits} {LINE} {LOOPS} --save_path {tmp_path}'
    said = said_by(2, tmp_path / 'threads.py', line)
    lines = re.findall('^at the end: .*', said, re.MULTILINE)
    assert len(lines) == 2 and not any('gloo' in line for line in lines), said


def test_all_stop_when_one_rank_has_no_memory(tmp_path, few_digits):
    # The second rank fails in its second iteration.
    failing = (
        'step = matching.step\n'
        'def failing(self, pause):\n'
        '    if os.environ["RANK"] == "1" and self.iteration:\n'
        '        raise RuntimeError("you tried to allocate memory")\n'
        '    return step(self, pause)\n'
        'matching.step = failing'
    )
    (tmp_path / 'full.py').write_text(OFTEN.format(failing))
    line = f'--dataset {few_digits} {LINE} {LOOPS} --save_path'
    run(f'{line} {tmp_path}/whole'.split())
    (error,) = errors_in(said_by(2, tmp_path / 'full.py', f'{line} {tmp_path}/stopped'))
    assert error.startswith('error: rank 1: you tried to allocate memory; what was saved is kept')
    assert list(tmp_path.glob('stopped/*/checkpoint.pt'))
    run(f'{line} {tmp_path}/stopped'.split())
    assert_equal(tmp_path / 'whole', tmp_path / 'stopped')


def run_own_seed(line):
    main_script.main([*line.split(), '--seed', os.environ['RANK']])


def test_different_arguments_are_refused(tmp_path, few_digits):
    line = f'--dataset {few_digits} {LINE} {LOOPS} --save_path {tmp_path}/runs'
    output = tmp_path / 'output'
    assert ended(start_ranks(2, run_own_seed, line, folder=output)) == [2, 2]
    first = 'error: ranks 0 and 1 differ in arguments: seed 0 and 1\n'
    assert first in (output / '0').read_text()
    assert 'error: rank 1: ranks 0 and 1 differ' in (output / '1').read_text()


RENDEZVOUS = {'RANK': '0', 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '1'}


@pytest.mark.parametrize('name', ['MASTER_PORT', 'WORLD_SIZE'])
def test_a_missing_rendezvous_is_one_line(name, monkeypatch, capsys):
    for key, value in (RENDEZVOUS | {name: 'x'}).items():
        monkeypatch.setenv(key, value)
    error = error_of(main_script, f'--dataset Digits {LINE} {LOOPS}'.split(), capsys)
    assert re.search(r'the ranks do not find each other.*torchrun$', error)


def test_a_number_beyond_the_last_rank_is_refused_at_once(monkeypatch):
    for key, value in (RENDEZVOUS | {'RANK': '2'}).items():
        monkeypatch.setenv(key, value)
    with pytest.raises(UserError, match='RANK 2 of 2, from 0'):
        ranks.join('cpu')


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
