"""The benchmark: contestants do the same work, rows follow from measurements, a small real run."""

import csv
import json

import numpy as np
import pytest
import torch

import bench
from benchmark import measure, to_accuracy
from benchmark.contestants import REFERENCE_NAMES, Ours, Textbook, reference_modules
from benchmark.measure import work_of_a_step
from methods import SHELF
from utils import UserError


@pytest.mark.parametrize('method', ['DC', 'DSA', 'BS'])
def test_contestants_do_the_same_work(uneven, method):
    ours, slow = (kind(uneven[0], method, 2, 'fp32', False) for kind in (Ours, Textbook))
    for contestant in (ours, slow):
        contestant.match()
        contestant.inner_epoch()
        contestant.evaluation_epoch()
        contestant.test()
    assert torch.allclose(ours.method.image_syn, slow.method.image_syn, atol=1e-5)
    for name, value in ours.method.net.state_dict().items():
        assert torch.allclose(value, slow.method.net.state_dict()[name], atol=1e-5)


def test_rows_follow_from_the_measurements():
    measured = {'match': {'first': 9.0, 'seconds': [2.0, 1.0, 3.0]}, 'peak_memory_mib': 100.0}
    measured |= {
        name: {'first': 1.0, 'seconds': [0.1]}
        for name in ('inner_epoch', 'evaluation_epoch', 'test')
    }
    rate = {'fp32': 100.0, 'bf16': 200.0, 'copy': 50.0}
    row = bench.row_of('DC', 10, 'ours bf16', measured, (40.0, 10.0), rate)
    assert row['match'] == 2.0 and row['first_match'] == 9.0 and row['spread_match'] == '1-3'
    assert row['iteration'] == pytest.approx(10 * 2 + 9 * 50 * 0.1)
    assert row['evaluate_network'] == pytest.approx(301 * 0.1 + 0.1)
    assert row['share_of_matrix_rate'] == pytest.approx(40 / 200 / 2)
    assert row['share_of_copy_rate'] == pytest.approx(10 / 50 / 2)
    textbook = bench.row_of('DC', 10, 'textbook', measured, (40.0, 10.0), rate)
    assert textbook['share_of_matrix_rate'] == 0.2
    textbook = bench.row_of('DC', 10, 'textbook', measured, (40.0, 10.0), rate | {'tf32': 400.0})
    assert textbook['share_of_matrix_rate'] == 0.05
    assert 'iteration' not in bench.row_of('DC', 200, 'textbook', measured, (40.0, 10.0), rate)
    lines = bench.text_of(bench.COLUMNS, [row]).splitlines()
    assert lines[0].split()[:3] == ['method', 'ipc', 'contestant']
    assert lines[1].split()[:2] == ['DC', '10']


def test_work_grows_with_the_images(digits):
    (few, few_bytes), (many, many_bytes) = work_of_a_step(digits, 1), work_of_a_step(digits, 101)
    assert many / few == many_bytes / few_bytes == pytest.approx((768 + 9 * 101) / (768 + 9))


def test_a_folder_without_the_reference_is_named(tmp_path):
    with pytest.raises(UserError, match='holds no utils.py'):
        reference_modules(tmp_path)


def test_modules_of_the_reference_do_not_replace_ours(tmp_path):
    import utils

    (tmp_path / 'networks.py').write_text('width = 7\n')
    names = ' = '.join(REFERENCE_NAMES)
    text = 'from scipy.ndimage.interpolation import rotate\nfrom networks import width\n'
    (tmp_path / 'utils.py').write_text(f'{text}{names} = None\n')
    assert reference_modules(tmp_path).width == 7
    import networks
    import utils as again

    assert again is utils and hasattr(networks, 'make_network')
    (tmp_path / 'utils.py').write_text('import no_such_module\n')
    with pytest.raises(UserError, match='is not the public reference.*no_such_module'):
        reference_modules(tmp_path)


def test_a_small_run(few_digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(measure, 'WIDTH', 32)
    line = f'--dataset {few_digits} --ipc 1 --only_match --repeats 2 --compile off --precision fp32'
    line += ' --no-textbook'
    bench.main([*line.split(), '--out', str(tmp_path / 'bench.csv')])
    (row,) = csv.DictReader((tmp_path / 'bench.csv').open())
    assert row['contestant'] == 'ours fp32' and float(row['match']) > 0
    assert float(row['peak_memory_mib']) > 100 and row['dataset'] == str(few_digits)
    assert row['commit'] and row['torch'] == torch.__version__
    assert 'ours fp32' in capsys.readouterr().out


@pytest.mark.parametrize(('method', 'own'), [('DC', {'level': 'inter'}), ('DM', {})])
def test_the_contest_counts_condensing_alone(method, own, digits, tmp_path, monkeypatch, capsys):
    recipe = own | {'model': 'MLP', 'init': 'centres', 'Iteration': 2, 'batch_real': 4}
    monkeypatch.setitem(SHELF.recipes['fast'], method, {1: recipe})
    words = f'--to_accuracy --method {method} --ipc 1 --seeds 1 2 --num_eval 2 --dataset Digits '
    words += '--device cpu'
    folder = ['--save_path', str(tmp_path), '--out', str(tmp_path / 'contest.csv')]
    bench.main([*words.split(), *folder])
    (row,) = csv.DictReader((tmp_path / 'contest.csv').open())
    records = [
        json.loads(line)
        for log in tmp_path.glob('*/log.jsonl')
        for line in log.read_text().splitlines()
    ]
    accs = [100 * a for r in records if r.get('iteration') == 2 and 'accs' in r
            for a in r['accs']['MLP']]  # fmt: skip
    seconds = [r['seconds'] for r in records if 'seconds' in r]
    assert len(accs) == 4 and len(seconds) == 4
    assert float(row['accuracy']) == pytest.approx(np.mean(accs))
    assert float(row['seconds']) == pytest.approx(sum(seconds) / 2)
    assert (row['real_images'], row['networks'], row['iterations']) == ('8', '4', '2')
    (made, _) = tmp_path.glob('*/args.json')
    assert row['method'] == method
    assert json.loads(made.read_text())['command'][:3] == ['main.py', '--method', method]
    assert json.loads(made.read_text())['protocol'] == {'DC': None, 'DM': 'dc'}[method]
    # A second call reads what the first one made.
    bench.main([*words.split(), *folder])
    assert 'is finished' in capsys.readouterr().out
    (again,) = csv.DictReader((tmp_path / 'contest.csv').open())
    assert again['accuracy'] == row['accuracy']
    # Seconds of another machine are none of this one: refused before anything is computed.
    content = json.loads(made.read_text())
    content['environment']['device'] = 'another processor'
    made.write_text(json.dumps(content))
    monkeypatch.setattr(to_accuracy, 'contest_row', None)
    with pytest.raises(SystemExit):
        bench.main([*words.split(), *folder])
    assert 'was made on another device' in capsys.readouterr().err
