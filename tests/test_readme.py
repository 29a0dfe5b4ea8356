"""The README keeps its promises: its Python runs, links lead somewhere, one row is enough."""

import json
import re
import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import main as main_script
import main_BS
import main_cluster
import networks
from dataset.readers import DATASETS, Source
from experiment.run import Run
from methods import METHODS
from methods.sampling import DRAWS

ROOT = Path(__file__).parents[1]
SMALL = '--dataset Digits --model MLP --num_exp 1 --num_eval 2 --epoch_eval_train 30'


def blocks_of(page):
    """Return the Python of a page of Markdown."""
    return re.findall(r'```python\n(.*?)```', page, re.DOTALL)


BLOCKS = blocks_of((ROOT / 'README.md').read_text())


def run(script, line, path):
    script.main([*line.split(), '--save_path', str(path)])
    return torch.load(next(path.glob('*/res_*.pt')), weights_only=True)


@pytest.fixture
def toy(monkeypatch):
    """The method of the README, with its row of METHODS."""
    module = types.ModuleType('methods.running_mean')
    (text,) = (block for block in BLOCKS if 'class RunningMean' in block)
    exec(compile(text, 'README.md', 'exec'), module.__dict__)
    monkeypatch.setitem(METHODS, 'running_mean', module.RunningMean)


def test_the_method_of_the_readme_learns_and_takes_its_flags(toy, tmp_path, digits, capsys):
    line = f'{SMALL} --method running_mean --ipc 2 --eval_every 0'
    result = run(main_script, line, tmp_path)
    images, labels = result['data'][0]
    means = torch.stack([digits.images(index).mean(0) for index in digits.indices_class])
    assert (images - means[labels]).abs().mean() < 0.1
    assert np.mean(result['accs_all_exps']['MLP']) > 0.3
    log = (next(tmp_path.glob('*/log.jsonl'))).read_text().splitlines()
    assert len(log) == 51 and 'loss' not in json.loads(log[0])
    for words, message in (('--inner_loop 3', 'does nothing for --method running_mean'),
                           ('--lr_img 0', 'above 0')):  # fmt: skip
        with pytest.raises(SystemExit):
            main_script.main([*line.split(), *words.split(), '--save_path', str(tmp_path)])
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main_script.main(['--help'])
    assert '50 for running_mean' in ' '.join(capsys.readouterr().out.split())


def test_the_method_of_the_readme_resumes(toy, tmp_path, monkeypatch, capsys):
    line = f'{SMALL} --method running_mean --Iteration 6 --eval_every 3 --batch_real 8'
    straight = run(main_script, line, tmp_path / 'straight')
    calls = []

    def stop(run, progress, plain=Run.checkpoint):
        calls.append(1)
        run.signal = 15 if len(calls) == 4 else None
        plain(run, progress)

    with monkeypatch.context() as patch:
        patch.setattr('experiment.run.CHECKPOINT_SECONDS', -1)
        patch.setattr('experiment.run.Run.checkpoint', stop)
        with pytest.raises(SystemExit) as exit_:
            run(main_script, line, tmp_path / 'stopped')
    assert exit_.value.code == 143
    again = run(main_script, line, tmp_path / 'stopped')
    assert 'continuing from set 0' in capsys.readouterr().out
    assert torch.equal(straight['data'][0][0], again['data'][0][0])


def test_cluster_batches_come_by_themselves(toy, few_digits, tmp_path, monkeypatch):
    monkeypatch.setitem(DRAWS, 'largest', lambda members, num, rng: max(members, key=len)[:num])
    clusters = f'--num_cluster 3 --no-norm --extractor_epochs 1 --cluster_path {tmp_path}/clusters'
    clusters += f' --dataset {few_digits}'
    line = f'{SMALL} --method running_mean --Iteration 3 --eval_every 0 {clusters}'
    main_cluster.main(clusters.split())
    result = run(main_BS, line, tmp_path / 'bs')
    assert result['args']['draw'] == 'cluster'
    assert next((tmp_path / 'bs').iterdir()).name.startswith('BS-running_mean_few')
    result = run(main_script, f'{line} --draw largest', tmp_path / 'own')  # a row of DRAWS
    assert result['args']['changed']['draw'] == 'largest'


def test_a_data_set_and_a_network_are_one_row_each(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    pixels = (80 * labels[:, None, None] + rng.integers(0, 40, (60, 8, 8))).astype(np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels, 'y_test': labels}
    monkeypatch.setitem(DATASETS, 'Stripes', Source(lambda folder: arrays, (0.4,), (0.3,)))
    network = partial(networks.convnet, depth=1, width=8)
    monkeypatch.setitem(networks.NETWORKS, 'Narrow', network)
    line = '--dataset Stripes --model Narrow --num_exp 1 --num_eval 1 --epoch_eval_train 200'
    result = run(
        main_script, f'{line} --init real --Iteration 5 --eval_every 0 --precision fp32', tmp_path
    )
    assert result['accs_all_exps']['Narrow'][0] > 0.9 and result['mean'] == pytest.approx([0.4])


def test_a_set_is_used_as_the_readme_says(tmp_path, digits):
    """A network of one's own, trained by the README's lines, is right on nine of ten digits."""
    line = '--dataset Digits --model ConvNetD1 --method kmeans --feature_net MLP --ipc 10'
    line += f' --num_exp 1 --num_eval 1 --epoch_eval_train 1 --cluster_path {tmp_path / "c"}'
    run(main_script, line, tmp_path / 'r')
    (text,) = (block for block in BLOCKS if 'torch.load' in block)
    net = networks.make_network('ConvNetD1', 1, 10, (8, 8))
    pixels = digits.pixels_test.float() / 255
    names = {'path': next((tmp_path / 'r').glob('*/res_*.pt')), 'net': net, 'pixels': pixels}
    exec(compile(text, 'README.md', 'exec'), names)
    accuracy = (names['classes'] == digits.labels_test).float().mean()
    page = (ROOT / 'docs' / 'use_a_set.md').read_text()
    (text,) = (block for block in blocks_of(page) if 'load_dataset' in block)
    exec(compile(text, 'use_a_set.md', 'exec'), names)
    assert names['accuracy'] == accuracy > 0.9


@pytest.mark.parametrize('name', ['README.md', 'README.ko.md', 'runs/README.md', 'docs'])
def test_links_lead_somewhere(name):
    path = ROOT / name
    for page in path.glob('**/*.md') if path.is_dir() else [path]:
        for target in re.findall(r'\]\(([^)#]+)\)', page.read_text()):
            assert target.startswith('http') or (page.parent / target).exists(), (page.name, target)


def test_the_files_of_the_extractor_are_asked_for_before_it_is_trained(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, 'k_means_constrained', None)
    with pytest.raises(SystemExit) as exit_:
        main_cluster.main(['--dataset', 'Digits', '--cluster_path', str(tmp_path / 'c')])
    assert exit_.value.code == 2 and 'k-means-constrained>=0.7.4' in capsys.readouterr().err
    assert not (tmp_path / 'c').exists()
