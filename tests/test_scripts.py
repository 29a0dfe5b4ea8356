"""The scripts end to end on Digits, as a user calls them; and each mistake: one line on stderr,
exit code 2.
"""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import main as main_script
import main_eval
import main_report
from evaluation.protocol import POOLS
from experiment import tensorboard
from figures import grid
from utils import script

ROOT = Path(__file__).parents[1]


def run(script, line, path, capsys):
    script.main([*line.split(), '--save_path', str(path)])
    return capsys.readouterr().out


def result_of(path):
    return torch.load(next(Path(path).glob('*/res_*.pt')), weights_only=True)


@pytest.mark.parametrize('method', ['DC', 'DSA'])
def test_condensed_digits_beat_random_selection_and_the_loss_falls(method, tmp_path, capsys):
    evaluation = '--dataset Digits --model ConvNetD1 --ipc 1 --num_eval 3 --epoch_eval_train 30'
    line = f'{evaluation} --method {method} --Iteration 20 --batch_real 48'
    line += ' --num_exp 1 --eval_every 0'
    output = run(main_script, line, tmp_path / 'condensed', capsys)
    assert (
        output.strip().splitlines()[-1].startswith('ConvNetD1 ')
        and ' ± ' in output.splitlines()[-1]
    )
    log = next((tmp_path / 'condensed').glob('*/log.jsonl')).read_text().splitlines()
    losses = [record['loss'] for record in map(json.loads, log) if 'loss' in record]
    assert len(losses) == 20 and np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    protocol = 'dsa' if method == 'DSA' else 'dc'
    run(
        main_eval,
        f'{evaluation} --synset random --num_exp 3 --protocol {protocol}',
        tmp_path / 'random',
        capsys,
    )
    condensed, random = (
        result_of(tmp_path / name)['accs_all_exps']['ConvNetD1'] for name in ('condensed', 'random')
    )
    standard_error = np.hypot(
        np.std(condensed) / len(condensed) ** 0.5, np.std(random) / len(random) ** 0.5
    )
    assert np.mean(condensed) - np.mean(random) > 2 * standard_error


def test_sets_of_other_projects_are_evaluated(tmp_path, capsys):
    """The field's format holds NumPy numbers and no arguments."""
    images, labels = torch.randn(20, 1, 8, 8), torch.arange(10).repeat_interleave(2)
    accs = {'ConvNet': [np.float64(0.5)]}
    torch.save({'data': [[images, labels]] * 2, 'accs_all_exps': accs}, tmp_path / 'res_DC_x.pt')
    line = '--dataset Digits --eval_mode W --num_eval 1 --epoch_eval_train 1 '
    line += f'--synset {tmp_path}/res_DC_x.pt'
    run(main_eval, line, tmp_path / 'out', capsys)
    result = result_of(tmp_path / 'out')
    assert list(result['accs_all_exps']) == [
        'ConvNetW32',
        'ConvNetW64',
        'ConvNetW128',
        'ConvNetW256',
    ]
    assert all(len(values) == 2 for values in result['accs_all_exps'].values())
    assert torch.equal(result['data'][1][0], images)
    assert 'is finished' in run(main_eval, line, tmp_path / 'out', capsys)


def test_several_sets_are_evaluated_into_one_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(POOLS, 'P', ('MLP', 'ConvNetD1', 'LeNet'))
    for method in ('DC', 'DSA'):
        images, labels = torch.randn(20, 1, 8, 8), torch.arange(10).repeat_interleave(2)
        content = {'data': [[images, labels]], 'args': {'method': method, 'dataset': 'Digits'}}
        torch.save(content | {'accs_all_exps': {}}, tmp_path / f'res_{method}_Digits_MLP_2ipc.pt')
    files = ' '.join(map(str, sorted(tmp_path.glob('res_*.pt'))))
    line = '--dataset Digits --eval_mode P --num_eval 2 --epoch_eval_train 1 '
    line += f'--csv {tmp_path}/networks.csv'
    output = run(
        main_eval, f'{line} --synset random {files}', tmp_path / 'out', capsys
    ).splitlines()
    header, *rows = output[-5:-1]
    assert header.split()[:5] == ['accuracy', '%', 'MLP', 'ConvNetD1', 'LeNet']
    assert [row.split(',')[0] for row in rows] == ['random', 'DC', 'DSA']
    lines = list(csv.DictReader((tmp_path / 'networks.csv').open()))
    assert len(lines) == 9 and {line['num_networks'] for line in lines} == {'10', '2'}
    saved = torch.load(next((tmp_path / 'out').glob('eval_res_DC*/res_*.pt')), weights_only=True)
    accs = 100 * np.array(saved['accs_all_exps']['ConvNetD1'])
    (cell,) = (
        line for line in lines if line['set'].startswith('DC') and line['network'] == 'ConvNetD1'
    )
    assert float(cell['mean']) == pytest.approx(accs.mean(), abs=1e-3)
    assert float(cell['std']) == pytest.approx(accs.std(), abs=1e-3)


def test_report_and_picture(tmp_path, capsys):
    flags = '--dataset Digits --model MLP --ipc 1 --num_exp 2 --num_eval 2 --epoch_eval_train 2'
    run(main_eval, f'{flags} --synset random', tmp_path, capsys)
    run(main_script, f'{flags} --Iteration 2', tmp_path, capsys)
    main_report.main(['--results', str(tmp_path)])
    table = capsys.readouterr().out.splitlines()
    assert (
        len(table) == 3
        and table[0].startswith('data')
        and 'random' in table[2]
        and '2 x 2 MLP' in table[1]
    )
    files = sorted(str(path) for path in tmp_path.glob('*/res_*.pt'))
    grid.main([*files, '--out', str(tmp_path / 'docs/grid.png')])
    assert (tmp_path / 'docs/grid.png').stat().st_size > 5000


MISTAKES = {
    'unknown method': ('--method DCC', "'DCC'"),
    'unknown network': ('--model Foo', "'Foo'"),
    'unknown data set': ('--dataset Foo', "unknown data set 'Foo'.*Digits, MNIST"),
    'a known one, spelled in another way': ('--dataset cifar-10', r'did you mean CIFAR10\?'),
    'unknown strategy': (
        '--dataset Digits --method DSA --dsa_strategy swirl',
        "'swirl'.*color, crop",
    ),
    'unknown distance': ('--dis_metric l1', "'l1'"),
    'ipc 0': ('--ipc 0', 'at least 1'),
    'ipc without loops': ('--ipc 7', 'no preset loops'),
    'DD without a step': (
        '--dataset Digits --method DD --ipc 1 --inner_loop 0',
        'through one pass or more',
    ),
    'more real images than there are': (
        '--dataset Digits --init real --ipc 500 --outer_loop 1 --inner_loop 1',
        r"--init real needs 500 images in a class, but the largest, '\d', has 13",
    ),
    'network too deep': ('--dataset Digits --model ConvNetD4', 'depth 4.*8x8.*ConvNetD1'),
    'network without statistics': (
        '--dataset Digits --model ResNet18',
        'ResNet18 cannot be trained.*8x8',
    ),
    'last batch of one image': (
        '--dataset Digits --model ResNet18BN --eval_mode SS --batch_train 9',
        'ResNet18BN.*last batch of 1',
    ),
    'a coreset learns nothing': (
        '--dataset Digits --method herding --Iteration 1',
        '--Iteration does nothing for --method herding; use it with DC, DSA, DM, IDM, DD',
    ),
    'no real device': ('--dataset Digits --device meta', '--device meta cannot be used'),
    'evaluation network too deep': ('--dataset Digits --eval_mode D', 'depth 4.*8x8'),
    'no such device': (
        '--dataset Digits --device cuda:77',
        '--device cuda:77 cannot be used.*--device cpu',
    ),
    'no such kind of device': ('--dataset Digits --device tpu9', '--device tpu9 names no device'),
    'missing archive': ('--dataset nowhere/own.npz', 'nowhere/own.npz'),
    'unwritable results': (
        '--dataset Digits --save_path /dev/null/x',
        'is no folder that may',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_a_mistake_gets_one_line_and_exit_code_2(mistake, tmp_path, capsys):
    line, message = MISTAKES[mistake]
    with pytest.raises(SystemExit) as exit_:
        main_script.main(['--save_path', str(tmp_path), *line.split()])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count('\n') == 1
    assert re.search(message, error), error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('content', 'flags', 'message'),
    [
        (None, '', 'no such result file'),
        (b'garbage', '', 'cannot be read as a result file'),
        (b'', '', 'cannot be read as a result file'),
        *(
            ({'data': data}, '', 'is no result file')
            for data in ([], 5, [5], torch.zeros(2), [[1, 2]])
        ),
        (
            {'data': [[torch.zeros(10, 1, 8, 8), torch.arange(10)]], 'args': 'x'},
            '',
            'is no result file',
        ),
        ({'data': [[torch.zeros(10, 3, 32, 32), torch.arange(10)]]}, '', '--dataset'),
        ({'data': [[torch.zeros(10, 1, 8, 8), torch.arange(10) + 5]]}, '', '--dataset'),
        (
            {'data': [[torch.zeros(10, 1, 8, 8), torch.arange(10)]], 'args': {'dataset': 'USPS'}},
            '',
            'pass --dataset USPS',
        ),
    ],
)
def test_wrong_sets(content, flags, message, tmp_path, capsys):
    path = tmp_path / 'set.pt'
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        torch.save(content, path)
    with pytest.raises(SystemExit) as exit_:
        main_eval.main(
            ['--dataset', 'Digits', '--synset', str(path), '--save_path', str(tmp_path / 'out')]
        )
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and error.count('\n') == 1


def test_experiments_have_rows_of_their_own_and_evaluations_are_left_out(tmp_path, capsys):
    flags = '--dataset Digits --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1'
    for extra in ('', '--lr_img 1', '--seed 3'):
        run(main_script, f'{flags} --Iteration 1 {extra}', tmp_path, capsys)
    files = ' '.join(map(str, tmp_path.glob('*/res_*.pt')))
    table = run(main_eval, f'{flags} --synset {files}', tmp_path, capsys)
    assert re.search('DC, 1 per class, dc, lr_img 0.01 .*\nDC, 1 per class, dc, lr_img 1.0 ', table)
    files = ' '.join(map(str, tmp_path.glob('*/res_*.pt')))
    again = run(
        main_eval, f'{flags} --synset {files} {files} --csv {tmp_path}/t.csv', tmp_path, capsys
    )
    assert again.count('evaluation of another file: left out') == 2 * 3
    rows = list(csv.DictReader((tmp_path / 't.csv').open()))
    assert sorted(row['num_networks'] for row in rows) == ['1', '2']  # two seeds are one experiment
    with pytest.raises(SystemExit):
        main_eval.main(
            ['--dataset', 'Digits', '--synset', 'random', '--csv', f'{tmp_path}/no/x.csv']
        )
    assert 'no such folder' in capsys.readouterr().err


def test_a_run_knows_its_data(tmp_path, capsys):
    with np.load(data_of(tmp_path, 0)) as archive:
        arrays = dict(archive)
    flags = (
        f'--dataset {tmp_path}/own.npz --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1'
    )
    run(main_script, f'{flags} --Iteration 1', tmp_path, capsys)
    np.savez(tmp_path / 'again.npz', **arrays)
    (tmp_path / 'deeper').mkdir()
    np.savez(tmp_path / 'deeper' / 'own.npz', **arrays)
    line = flags.replace('own.npz', 'deeper/own.npz')
    assert 'is finished' in run(
        main_script, f'{line} --Iteration 1', tmp_path, capsys
    )  # the same content
    data_of(tmp_path, 1)
    with pytest.raises(SystemExit) as exit_:
        run(main_script, f'{flags} --Iteration 1', tmp_path, capsys)
    assert exit_.value.code == 2 and 'was made from other data' in capsys.readouterr().err


def data_of(folder, seed):
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    np.savez(folder / 'own.npz', x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    return folder / 'own.npz'


@pytest.mark.parametrize(
    ('error', 'code'),
    [
        (torch.OutOfMemoryError('CUDA out of memory.\nmore'), 2),
        (MemoryError('Unable to allocate'), 2),
    ],
)
def test_too_little_memory_is_one_line(error, code, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit) as exit_:
        script(main)([])
    assert exit_.value.code == code and capsys.readouterr().err.count('\n') == 1


def test_other_errors_keep_their_traceback():
    def main(argv):
        raise RuntimeError('an illegal memory access was encountered')

    with pytest.raises(RuntimeError, match='illegal'):
        script(main)([])


def test_random_sets_larger_than_a_class(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        main_eval.main(
            [
                '--dataset',
                'Digits',
                '--synset',
                'random',
                '--ipc',
                '1000',
                '--save_path',
                str(tmp_path),
            ]
        )
    assert exit_.value.code == 2 and 'largest class' in capsys.readouterr().err


def test_report_of_nothing(tmp_path, capsys):
    for path in (tmp_path, tmp_path / 'missing'):
        with pytest.raises(SystemExit) as exit_:
            main_report.main(['--results', str(path)])
        assert exit_.value.code == 2 and capsys.readouterr().err.count('\n') == 1


def test_a_real_process_has_no_traceback():
    done = subprocess.run(
        [sys.executable, 'main.py', '--ipc', '0'], cwd=ROOT, capture_output=True, text=True
    )
    assert (
        done.returncode == 2 and done.stderr.startswith('error: ') and done.stderr.count('\n') == 1
    )


def test_real_cifar(cifar_path, tmp_path, capsys):
    line = f'--data_path {cifar_path} --ipc 1 --Iteration 2 '
    line += '--num_exp 1 --num_eval 1 --epoch_eval_train 2'
    run(main_script, line, tmp_path, capsys)
    assert result_of(tmp_path)['data'][0][0].shape == (10, 3, 32, 32)


def test_tensorboard_shows_scalars_and_images(tmp_path, capsys):
    events = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    line = '--dataset Digits --model MLP --num_exp 1 --num_eval 2 --epoch_eval_train 2 '
    line += '--Iteration 3 --eval_every 3'
    run(main_script, line + ' --tensorboard', tmp_path, capsys)
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    shown = events.EventAccumulator(str(folder)).Reload()
    records = [json.loads(text) for text in (folder / 'log.jsonl').read_text().splitlines()]
    losses = [record['loss'] for record in records if 'loss' in record]
    assert np.allclose([event.value for event in shown.Scalars('set0/loss')], losses)
    assert [event.step for event in shown.Scalars('set0/accs/MLP')] == [0, 3]
    assert len(shown.Images('set0/images')) == 2
    # It is no other experiment: without the flag the same run is found finished.
    assert 'is finished' in run(main_script, line, tmp_path, capsys)


def test_tensorboard_takes_every_record_of_a_log(tmp_path, monkeypatch):
    scalars = {}

    class Writer:
        def __init__(self, folder):
            pass

        def add_scalar(self, name, value, step):
            scalars[name] = float(value), step

    monkeypatch.setattr(tensorboard, 'summary_writer', lambda: Writer)
    record = {'exp': 0, 'iteration': 3, 'loss': 1.5, 'loss_taps': [0.5, 1.0]}
    tensorboard.TensorBoard(tmp_path).log(record | {'accs': {'MLP': [0.25, 0.75]}})
    assert scalars == {
        'set0/loss': (1.5, 3),
        'set0/loss_taps/0': (0.5, 3),
        'set0/loss_taps/1': (1.0, 3),
        'set0/accs/MLP': (0.5, 3),
    }


def test_tensorboard_is_asked_for_by_name_when_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    with pytest.raises(SystemExit) as exit_:
        main_script.main(['--dataset', 'Digits', '--tensorboard', '--save_path', str(tmp_path)])
    assert exit_.value.code == 2 and 'pip install tensorboard' in capsys.readouterr().err
