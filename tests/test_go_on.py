"""A longer run goes on from a shorter one, and ends as if it had been made at once."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import main as main_script
import main_BS
import main_eval
from experiment import go_on
from experiment import run as run_module
from methods import METHODS
from tests.process import start
from tests.test_resume import CHANGING, assert_same

COMMON = (
    '--dataset Digits --model MLP --ipc 1 --epoch_eval_train 2 --batch_real 8 '
    '--compile off --device cpu --precision fp32'
)
CASES = {
    'DC': (main_script, '--ipc 2 --outer_loop 2 --inner_loop 1 --eval_every 2'),
    'mix': (main_BS, '--feature_net PCA --no-norm --num_cluster 3 --mix 2 --eval_every 0'),
    'DM': (main_script, '--method DM --eval_every 3 --factor 2'),
    'DD': (main_script, '--method DD --inner_loop 1 --eval_every 0'),
    'herding': (main_script, '--method herding --feature_net PCA'),
}


def words(line, path, sizes, clusters):
    """Return the words of a run of (iterations, sets, networks)."""
    names = dict(zip(('Iteration', 'num_exp', 'num_eval'), sizes, strict=True))
    common = COMMON
    if 'herding' in line:
        del names['Iteration']
        common = common.replace(' --batch_real 8', '')
    lengths = ' '.join(f'--{name} {value}' for name, value in names.items())
    places = ['--save_path', str(path), '--cluster_path', str(clusters)]
    return [*f'{common} {line} {lengths}'.split(), *places]


def outcome(path, sizes):
    """Return all that the run of these sizes leaves, but for its times."""
    (folder,) = (
        folder
        for folder in path.iterdir()
        if not folder.name.startswith('.')
        and all(
            json.loads((folder / 'args.json').read_text()).get(name, size) == size
            for name, size in zip(go_on.LENGTHS, sizes, strict=True)
        )
    )
    result = torch.load(next(folder.glob('res_*.pt')), weights_only=True)
    log = [json.loads(line) for line in (folder / 'log.jsonl').read_text().splitlines()]
    log = [{key: value for key, value in record.items() if key not in CHANGING} for record in log]
    pictures = {picture.name: picture.read_bytes() for picture in folder.glob('vis_*.png')}
    ends = {end.name: torch.load(end)['method']['image_syn'] for end in folder.glob('end_*.pt')}
    return result['data'], result['accs_all_exps'], log, pictures, ends, result.get('stored')


def assert_at_once(first, second, log=True):
    assert_same(first[:2], second[:2])
    assert first[3] == second[3]
    assert first[4].keys() == second[4].keys()
    assert all(torch.equal(end, second[4][name]) for name, end in first[4].items())
    assert not log or first[2] == second[2]
    for pair, other in zip(first[5] or (), second[5] or (), strict=True):
        assert all(map(torch.equal, pair, other))


@pytest.fixture(scope='module')
def clusters(tmp_path_factory):
    return tmp_path_factory.mktemp('clusters')


@pytest.fixture(scope='module')
def at_once(tmp_path_factory, clusters):
    """Return a function that makes a run at once, each only once, and returns its outcome."""
    known = {}

    def make(case, sizes):
        if (case, sizes) not in known:
            path, (script, line) = tmp_path_factory.mktemp('once'), CASES[case]
            script.main(words(line, path, sizes, clusters))
            known[case, sizes] = outcome(path, sizes)
        return known[case, sizes]

    return make


LONG = 5, 2, 3
GROWING = {
    'iterations': (3, 2, 3),
    'iterations, and an evaluation that is none of the longer run': (2, 2, 3),
    'sets': (5, 1, 3),
    'networks': (5, 2, 1),
    'all': (3, 1, 2),
}


@pytest.mark.parametrize('short', GROWING.values(), ids=GROWING)
@pytest.mark.parametrize('case', CASES)
def test_a_continued_run_is_the_longer_run(case, short, at_once, clusters, tmp_path, capsys):
    script, line = CASES[case]
    if case in ('DD', 'herding') and short[0] == 2:
        return
    short = (5, *short[1:]) if case == 'herding' else short
    expected = at_once(case, LONG)
    script.main(words(line, tmp_path, short, clusters))
    capsys.readouterr()
    script.main(words(line, tmp_path, LONG, clusters))
    text = capsys.readouterr().out
    found = outcome(tmp_path, LONG)
    # Intermediate evaluations keep the networks that they had.
    fewer = short[2] < LONG[2] and '--eval_every 0' not in line
    assert_at_once(expected, found, log=not fewer)
    assert [r for r in expected[2] if 'accs' not in r] == [r for r in found[2] if 'accs' not in r]
    if short != LONG:
        assert 'set 0 goes on from' in text and 'not going on' not in text
        assert ('set 1 goes on from' in text) == (short[1] == 2)
    script.main(words(line, tmp_path, LONG, clusters))
    assert 'is finished' in capsys.readouterr().out


def steps_of(monkeypatch, name='DC'):
    """Return the list to which every iteration from now on adds one."""
    steps, plain = [], METHODS[name].step

    def step(self, pause=lambda: False):
        steps.append(self.iteration)
        return plain(self, pause)

    monkeypatch.setattr(METHODS[name], 'step', step)
    return steps


def test_nothing_is_computed_twice(clusters, tmp_path, monkeypatch):
    script, line = CASES['DC']
    script.main(words(line, tmp_path, (3, 1, 1), clusters))
    script.main(words(line, tmp_path, (2, 2, 1), clusters))
    steps = steps_of(monkeypatch)
    # Of each set the neighbour that brought it furthest.
    script.main(words(line, tmp_path, LONG, clusters))
    assert steps == [3, 4, 2, 3, 4]
    del steps[:]
    script.main(words(line, tmp_path, (5, 2, 5), clusters))
    assert steps == []


def run_until_killed(argv, number):
    """Run main.py until it is killed after writing checkpoint or state at an end `number`."""
    writes, plain = [], run_module.save_tensors

    def save(path, state):
        plain(path, state)
        writes.append(path)
        if len(writes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    run_module.save_tensors = go_on.save_tensors = save
    run_module.CHECKPOINT_SECONDS = -1
    main_script.main(argv)


def killed(argv, number):
    """Run main.py until it is killed, in a process of its own."""
    output = Path(argv[argv.index('--save_path') + 1]).with_suffix('.output')
    process = start(run_until_killed, argv, number, output=output)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, output.read_text()


@pytest.mark.parametrize('write', [1, 4])
def test_kill_in_the_continued_part(write, at_once, clusters, tmp_path):
    script, line = CASES['DC']
    script.main(words(line, tmp_path, (4, 2, 3), clusters))
    killed(words(line, tmp_path, LONG, clusters), write)
    script.main(words(line, tmp_path, LONG, clusters))
    assert_at_once(at_once('DC', LONG), outcome(tmp_path, LONG))


@pytest.mark.parametrize(
    ('write', 'long'), [(1, LONG), (3, LONG), (3, (3, 2, 3)), (7, LONG)], ids=str
)
def test_an_unfinished_run_is_a_start_too(write, long, at_once, clusters, tmp_path, capsys):
    script, line = CASES['DC']
    killed(words(line, tmp_path, (3, 1, 3), clusters), write)
    script.main(words(line, tmp_path, long, clusters))
    assert 'set 0 goes on from' in capsys.readouterr().out
    assert_at_once(at_once('DC', long), outcome(tmp_path, long))


@pytest.mark.parametrize('gone', [True, False])
def test_kill_while_networks_are_added(gone, clusters, tmp_path):
    """The finished set is in the checkpoint: its neighbour may be gone by then."""
    script, line = CASES['DC']
    line += ' --eval_every 0'
    script.main(words(line, tmp_path, (3, 2, 1), clusters))
    killed(words(line, tmp_path, (3, 2, 3), clusters), 3)
    if gone:
        shutil.rmtree(next(tmp_path.glob('*num_eval=1*')))
    script.main(words(line, tmp_path, (3, 2, 3), clusters))
    script.main(words(line, tmp_path / 'once', (3, 2, 3), clusters))
    shutil.move(tmp_path / 'once', other := tmp_path.with_name(f'{tmp_path.name}_once'))
    assert_at_once(outcome(other, (3, 2, 3)), outcome(tmp_path, (3, 2, 3)))


ANEW = {
    'contrast': ('--level contrast', (3, 1, 3), 'with --level contrast all depends on the number'),
    'no end': ('', (3, 1, 3), 'the state at the end of its sets was not kept'),
    'damaged end': ('', (3, 1, 3), 'cannot be read as a state'),
    'damaged log': ('', (3, 1, 3), 'log.jsonl is damaged'),
    'damaged checkpoint': ('', (3, 1, 3), 'cannot be read as a checkpoint'),
    'no checkpoint': ('', (3, 1, 3), 'it has no checkpoint any more'),
    'words for numbers': ('', (3, 1, 3), 'its arguments are damaged'),
    'end of another run': ('', (3, 1, 3), 'end_exp0.pt is of another run'),
    'other data': ('', (3, 1, 3), 'was made with data of the hash x'),
}


CHANGES = {
    'words for numbers': ('checkpoint.pt', {'num_exp': 'x'}),
    'end of another run': ('end_exp0.pt', {'lr_img': 7.0}),
    'other data': ('checkpoint.pt', {'data_hash': 'x'}),
}


@pytest.mark.parametrize('case', ANEW)
def test_what_cannot_go_on_is_made_anew(case, at_once, clusters, tmp_path, capsys):
    script, line = CASES['DC']
    words_, short, message = ANEW[case]
    script.main(words(f'{line} {words_}', tmp_path, short, clusters))
    (folder,) = tmp_path.iterdir()
    if case == 'no end':
        (folder / 'end_exp0.pt').unlink()
    elif case == 'no checkpoint':
        (folder / 'checkpoint.pt').unlink()
    elif case in CHANGES:
        name, change = CHANGES[case]
        state = torch.load(folder / name)
        torch.save(state | {'args': state['args'] | change}, folder / name)
    elif case.startswith('damaged'):
        name = {'end': 'end_exp0.pt', 'log': 'log.jsonl', 'checkpoint': 'checkpoint.pt'}
        path = folder / name[case.split()[1]]
        path.write_bytes(b'x' + path.read_bytes()[1:])
    capsys.readouterr()
    script.main(words(f'{line} {words_}', tmp_path, LONG, clusters))
    lines = capsys.readouterr().out.splitlines()
    refusals = [text for text in lines if text.startswith('not going on from')]
    assert len(refusals) == 1 and message in refusals[0]
    if not words_:
        assert_at_once(at_once('DC', LONG), outcome(tmp_path, LONG))


@pytest.mark.parametrize('damage', ['shape', 'labels', 'soft'])
def test_a_set_of_other_data_is_not_evaluated(damage, clusters, tmp_path, capsys):
    script, line = CASES['DC']
    script.main(words(line, tmp_path, (1, 1, 1), clusters))
    (folder,) = tmp_path.iterdir()
    state = torch.load(folder / 'checkpoint.pt')
    images, labels = state['progress']['sets'][0]
    state['progress']['sets'][0] = {
        'shape': [images[..., :5], labels],
        'labels': [images, labels + 70],
        'soft': [images, torch.rand(len(images), 10)],
    }[damage]
    torch.save(state, folder / 'checkpoint.pt')
    capsys.readouterr()
    with pytest.raises(SystemExit) as caught:
        script.main(words(line, tmp_path, (1, 1, 2), clusters))
    error = capsys.readouterr().err
    assert caught.value.code == 2 and 'holds a set that is not of Digits' in error


def test_without_the_states_at_the_ends_networks_and_sets_still_go_on(
    at_once, clusters, tmp_path, capsys, monkeypatch
):
    """So it is with runs of earlier versions."""
    script, line = CASES['mix']
    script.main(words(line, tmp_path, (5, 1, 2), clusters))
    for path in tmp_path.glob('*/end_*.pt'):
        path.unlink()
    steps = steps_of(monkeypatch)
    script.main(words(line, tmp_path, LONG, clusters))
    assert steps == [0, 1, 2, 3, 4]
    assert_same(at_once('mix', LONG)[:3], outcome(tmp_path, LONG)[:3])


def test_other_flags_seeds_and_shorter_runs_do_not_go_on(clusters, tmp_path, capsys):
    script, line = CASES['DC']
    script.main(words(line, tmp_path, (3, 1, 2), clusters))
    for other in ('--lr_img 0.2', '--seed 1'):
        script.main(words(f'{line} {other}', tmp_path, (4, 1, 2), clusters))
    script.main(words(line, tmp_path, (2, 2, 2), clusters))
    assert 'goes on' not in capsys.readouterr().out


@pytest.mark.parametrize('synset', ['random', 'file'])
def test_an_evaluation_goes_on(synset, tmp_path, monkeypatch, capsys):
    line = f'{COMMON} --eval_mode W --model MLP'.replace(' --batch_real 8', '')
    if synset == 'file':
        main_script.main(words(CASES['DC'][1], tmp_path / 'made', (1, 2, 1), tmp_path))
        synset = str(next(tmp_path.glob('made/*/res_*.pt')))
        line = line.replace(' --ipc 1', '')
    monkeypatch.setattr('evaluation.protocol.POOLS', {'W': ('MLP', 'ConvNetD1')})

    def evaluate(path, *sizes):
        numbers = f'--num_exp {sizes[0]} --num_eval {sizes[1]} --save_path {path} --synset'
        main_eval.main([*line.split(), *numbers.split(), synset])
        return outcome(path, (0, *sizes))

    expected = evaluate(tmp_path / 'once', 2, 3)
    evaluate(tmp_path / 'parts', 1, 1)
    monkeypatch.setattr(run_module, 'CHECKPOINT_SECONDS', -1)
    evaluate(tmp_path / 'parts', 2, 2)
    capsys.readouterr()
    assert_at_once(expected, evaluate(tmp_path / 'parts', 2, 3))
    text = capsys.readouterr().out
    assert 'set 0 goes on from' in text and 'set 1 goes on from' in text
