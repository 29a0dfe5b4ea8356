"""Damaged files: what is done to one ends in the right result, or in one line and exit code 2.

HOSTILE=300 python -m pytest tests/test_hostile.py       # 300 flipped bits a file in place of 20
"""

import copy
import functools
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import main as main_script
import main_BS
import main_eval
from dataset.arrays import read_npz
from experiment import run as run_module
from experiment.checkpoint import load_checkpoint, same
from experiment.result import load_result
from features.clusters import load_clusters, make_clusters
from features.extractor import load_extractor
from networks import make_network
from storage.files import save_tensors
from utils import Rng, UserError

FLIPS = int(os.environ.get('HOSTILE', 20))
LINE = (
    '--dataset Digits --model MLP --ipc 1 --Iteration 3 --outer_loop 2 --inner_loop 1 --num_exp 2 '
    '--num_eval 1 --epoch_eval_train 1 --eval_every 0 --batch_real 8'
)
EVALUATE = '--dataset Digits --model MLP --num_eval 1 --epoch_eval_train 1'


@pytest.fixture(scope='module')
def files(tmp_path_factory, digits):
    """Return {kind: a good file}: a checkpoint of a run in its second set, and its neighbours."""
    folder = tmp_path_factory.mktemp('good')
    found = {}

    # A run that is saved at every pause, and a copy of its checkpoint in the middle.
    plain = run_module.save_tensors

    def keep(path, state):
        plain(path, state)
        progress = state['progress']
        if 'method' in progress and (progress['exp'], progress['iteration']) == (1, 2):
            shutil.copytree(path.parent, folder / 'stopped' / path.parent.name, dirs_exist_ok=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, 'CHECKPOINT_SECONDS', -1)
        patch.setattr(run_module, 'save_tensors', keep)
        main_script.main([*LINE.split(), '--save_path', str(folder / 'finished')])
    found['checkpoint'] = next((folder / 'stopped').glob('*/checkpoint.pt'))
    found['result'] = next((folder / 'finished').glob('*/res_*.pt'))

    found['clusters'] = folder / 'clusters.pt'
    features = digits.pixels_train.flatten(1).float()
    make_clusters(digits, features, found['clusters'], k=2, layer=0, balanced=False, facts={})
    found['extractor'] = folder / 'extractor.pt'
    net = make_network('ResNet18BN', 1, 10, (8, 8))
    weights = dict(net.state_dict())
    save_tensors(found['extractor'], {'net': weights, 'accuracy': 0.5, 'data': 'x', 'epochs': 1})
    found['data'] = folder / 'own.npz'
    part = {'x': digits.pixels_train[:40, 0].numpy(), 'y': digits.labels_train[:40].numpy()}
    np.savez(found['data'], **{f'{k}_{s}': v for s in ('train', 'test') for k, v in part.items()})
    return found


@pytest.fixture(scope='module')
def readers(digits):
    """Return {kind: the function that every script reads such a file by}."""

    def extractor(path):
        net, facts = load_extractor(path, digits)
        return net.state_dict(), {key: facts[key] for key in ('accuracy', 'data', 'epochs')}

    def data(path):
        return {key: torch.from_numpy(array) for key, array in read_npz(path).items()}

    return {
        'checkpoint': load_checkpoint, 'result': load_result, 'clusters': load_clusters,
        'extractor': extractor, 'data': data,
    }  # fmt: skip


KINDS = 'checkpoint', 'result', 'clusters', 'extractor', 'data'


def right_or_refused(read, path, good) -> bool:
    """Read a damaged file; return whether it was refused. Anything else must equal the good one."""
    try:
        found = read(path)
    except UserError as error:
        text = str(error)
        assert str(path) in text and '\n' not in text and 'remove' not in text, text
        assert 'weights_only' not in text
        return True
    assert same(found, good)
    return False


@pytest.mark.parametrize('kind', KINDS)
def test_flipped_bits_and_cut_files(kind, files, readers, tmp_path):
    read, content = readers[kind], files[kind].read_bytes()
    good, path, refused = read(files[kind]), tmp_path / 'file', 0
    draw = random.Random(0)
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged)
        refused += right_or_refused(read, path, good)
    assert refused > FLIPS // 2  # else nothing was tried
    for tenth in range(10):
        path.write_bytes(content[: len(content) * tenth // 10])
        assert right_or_refused(read, path, good)


@pytest.mark.parametrize('kind', KINDS)
def test_other_files_in_its_place(kind, files, readers, tmp_path):
    read, good = readers[kind], None
    folder, pipe, words = tmp_path / 'folder', tmp_path / 'pipe', tmp_path / 'words'
    folder.mkdir()
    os.mkfifo(pipe)
    words.write_text('{"data": [[1, 2]]}')
    others = [files[other] for other in KINDS if other != kind]
    for path in (folder, pipe, words, *others):
        if (kind, path) == ('result', files['data']):
            continue  # a Keras archive is a set
        if kind == 'data' and path in others:  # an archive of no arrays
            with pytest.raises(UserError):
                read(path)
            continue
        assert right_or_refused(read, path, good), path


def places(value, depth):
    """Yield the keys that lead to each part of nested dicts and lists."""
    if not depth or not isinstance(value, dict | list | tuple):
        return
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
        yield (key,)
        yield from ((key, *rest) for rest in places(value[key], depth - 1))


def changed(value, place, new):
    """Return a copy of nested dicts and lists with another value at a place; None: without it."""
    value = copy.copy(list(value) if isinstance(value, tuple) else value)
    key, *rest = place
    if rest:
        value[key] = changed(value[key], rest, new)
    elif new is None:
        del value[key]
    else:
        value[key] = new
    return value


MISSING = None
OTHERS = MISSING, 'word', -1, 2.5, float('nan'), 10**30, [], {}, [float('nan')], torch.zeros(2, 2)


def damages(state, depth):
    """Yield (place, state with another value there)."""
    for place in places(state, depth):
        # A list that is shorter is a good file of fewer sets.
        for new in OTHERS[isinstance(place[-1], int) :]:
            yield place, changed(state, place, new)


def nan_tensors(state):
    """Yield (place, state) with one number of a floating tensor that is not finite."""
    for place in places(state, 8):
        part = state
        for key in place:
            part = part[key]
        if isinstance(part, torch.Tensor) and part.is_floating_point() and part.numel():
            new = part.clone()
            new.view(-1)[-1] = float('nan')
            yield place, changed(state, place, new)


def one_line(capsys, call) -> bool:
    """Call a script; return whether it refused with one line and exit code 2."""
    capsys.readouterr()
    try:
        call()
    except SystemExit as error:
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error')]
        assert error.code == 2 and len(lines) == 1, lines
        return True
    return False


def test_a_damaged_checkpoint_ends_right_or_in_one_line(files, tmp_path, capsys):
    path = files['checkpoint']
    state = torch.load(path, weights_only=True)
    end = load_result(files['result'])
    folder = tmp_path / path.parent.name
    cases = [*damages(state, 3), *nan_tensors(state)]
    cases = cases if FLIPS > 100 else random.Random(1).sample(cases, 30)
    refused = 0
    for place, damaged in cases:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(path.parent, folder)
        torch.save(damaged, folder / path.name)
        line = [*LINE.split(), '--save_path', str(tmp_path)]
        stopped = one_line(capsys, functools.partial(main_script.main, line))
        refused += stopped
        if not stopped:
            found = load_result(next(folder.glob('res_*.pt')))
            assert same(found['data'], end['data']), place
            assert found['accs_all_exps'] == end['accs_all_exps'], place
    assert refused > len(cases) // 2


def test_a_damaged_result_ends_right_or_in_one_line(files, tmp_path, capsys):
    state = torch.load(files['result'], weights_only=True)
    path, out = tmp_path / 'res_x.pt', tmp_path / 'out'

    def evaluate():
        main_eval.main([*EVALUATE.split(), '--synset', str(path), '--save_path', str(out)])

    cases = [case for case in damages(state, 2) if len(case[0]) == 1 or case[0][0] == 'data']
    cases += nan_tensors(state)  # (another mean is another good file)
    cases = cases if FLIPS > 100 else random.Random(1).sample(cases, 30)
    cases += [(('data', 0, 1), changed(state, ('data', 0, 1), labels)) for labels in ODD_LABELS]
    good = None
    for place, damaged in [((), state), *cases]:
        shutil.rmtree(out, ignore_errors=True)
        torch.save(damaged, path)
        if one_line(capsys, evaluate):
            assert place, 'the good file was refused'
            continue
        found = load_result(next(out.glob('*/res_*.pt')))
        good = good or found
        assert same(found['data'], good['data'][: len(found['data'])]), place
        accs, others = (each['accs_all_exps']['MLP'] for each in (found, good))
        assert accs == others[: len(accs)], place


ODD_LABELS = [
    torch.arange(10) + 0.5, torch.arange(10).to(torch.complex64), torch.arange(10) > 3,
    torch.arange(10)[:, None], torch.arange(10).to_sparse(), torch.full((10,), float('nan')),
    torch.arange(9), torch.arange(10) - 1,
]  # fmt: skip
ODD_IMAGES = [
    torch.zeros(10, 1, 8, 8, dtype=torch.complex64), torch.zeros(10, 1, 8, 8).to_sparse(),
    torch.quantize_per_tensor(torch.zeros(10, 1, 8, 8), 1.0, 0, torch.qint8),
    torch.zeros(10, 1, 8, 8, dtype=torch.int32), torch.full((10, 1, 8, 8), float('inf')),
    torch.zeros(10, 1, 0, 8), torch.zeros(0, 1, 8, 8), torch.zeros(10, 64),
]  # fmt: skip


@pytest.mark.parametrize('images', ODD_IMAGES, ids=range(len(ODD_IMAGES)))
def test_images_that_are_none_are_refused(images, tmp_path, capsys):
    torch.save({'data': [[images, torch.arange(len(images))]]}, tmp_path / 'res_x.pt')
    line = [
        *EVALUATE.split(),
        '--synset',
        str(tmp_path / 'res_x.pt'),
        '--save_path',
        str(tmp_path / 'o'),
    ]
    assert one_line(capsys, lambda: main_eval.main(line))
    assert not (tmp_path / 'o').exists()


@pytest.mark.parametrize('kind', ['clusters', 'extractor'])
def test_damaged_clusters_and_extractors(kind, files, readers, tmp_path):
    state = torch.load(files[kind], weights_only=True)
    good, read, path = readers[kind](files[kind]), readers[kind], tmp_path / 'file.pt'
    cases = [*damages(state, 4 if kind == 'clusters' else 2), *nan_tensors(state)]
    for place, damaged in cases if FLIPS > 100 else random.Random(1).sample(cases, 30):
        torch.save(damaged, path)
        try:
            found = read(path)
        except UserError as error:
            assert '\n' not in str(error)
            continue
        # What decides the result is as it was; a fact that is missing is only not known.
        assert same(found[0], good[0]) or kind == 'clusters', place


def test_a_cluster_file_with_other_members_is_refused(files, tmp_path, capsys):
    """The reader passes whole numbers; the partition of each class is checked by the scripts."""
    line = [*LINE.split(), '--num_cluster', '2', '--feature_net', 'PCA', '--no-norm']
    line += ['--cluster_path', str(tmp_path), '--save_path', str(tmp_path / 'out')]
    path = tmp_path / 'class_idx_digits_k2_PCA_False.pt'
    stored = torch.load(files['clusters'], weights_only=True)
    for new in ([0], [10**30], [2.5], 'word', [True], list(range(2000))):
        torch.save(changed(stored, ('clusters', 3, 1), new), path)
        assert one_line(capsys, lambda: main_BS.main(line)), new
    assert not Path(tmp_path / 'out').exists()


def test_weights_that_are_not_finite_are_not_kept(tmp_path, capsys):
    line = '--dataset Digits --method herding --feature_net MLP --lr_net 1e30 --num_exp 1'
    line = [*line.split(), '--save_path', str(tmp_path / 'o')]
    line += ['--cluster_path', str(tmp_path / 'c')]
    assert one_line(capsys, lambda: main_script.main(line))
    assert not list((tmp_path / 'c').glob('*.pt'))


def test_random_numbers_of_a_checkpoint_go_on(digits):
    """A state of another generator, or of another size, is no state."""
    rng = Rng('cpu', 1)
    with pytest.raises((RuntimeError, TypeError)):
        rng.load_state_dict({'generator': torch.zeros(4, dtype=torch.uint8), 'host_generator': 5})
