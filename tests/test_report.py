"""The report: rows hold what runs gave, tables pool and compare them, broken runs are named and left out."""

import csv
import fcntl
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind

import main as main_script
import main_eval
import main_report
from report.cells import comparisons
from report.summary import COLUMNS, collect, merge, other_settings, read, settings_of, write
from report.tables import (
    STUDY,
    cell_text,
    command_of,
    matching,
    pooled,
    published,
    results_page,
    significance,
    with_numbers,
)


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Two finished runs on Digits and one that was only begun."""
    folder = tmp_path_factory.mktemp('results')
    flags = ['--dataset', 'Digits', '--model', 'MLP', '--num_exp', '2', '--num_eval', '2']
    flags += ['--epoch_eval_train', '2']
    main_eval.main([*flags, '--synset', 'random', '--save_path', str(folder)])
    main_script.main([*flags, '--Iteration', '2', '--save_path', str(folder)])
    begun = shutil.copytree(next(folder.glob('DC*')), folder / 'begun')
    for path in begun.glob('res_*'):
        path.unlink()
    return folder


def row_of(method='DC', mean=28.0, std=0.5, sets='28.0', num=20, **changes):
    row = (
        dict.fromkeys(COLUMNS, '')
        | STUDY
        | {'method': method, 'label': method, 'ipc': '1', 'Iteration': '1000'}
    )
    row |= {'mean': str(mean), 'std': str(std), 'set_means': sets, 'num_networks': str(num), 'seed': '0'}
    row |= {
        'protocol': 'dc',
        'epochs': '300',
        'precision': 'bf16',
        'device': 'a CPU',
        'commit': 'abc',
        'condense_minutes': '1.0',
        'judge_minutes': '2.0',
        'command': f'python {method}',
    }
    return row | {'run': f'{method} {changes}'} | changes


def bs_row(**changes):
    return row_of('BS', num_cluster='20', layer_idx='3', norm='True', draw='cluster', **changes)


def test_rows_hold_what_the_runs_gave(runs):
    rows, unfinished, broken = collect(runs)
    assert [row['method'] for row in rows] == ['DC', 'random'] and not broken
    assert unfinished == [line for line in unfinished if 'begun: set 1, iteration 2' in line] != []
    row, stored = rows[0], torch.load(next(runs.glob('DC*/res_*.pt')), weights_only=True)
    accs = 100 * np.array(stored['accs_all_exps']['MLP'])
    assert float(row['mean']) == pytest.approx(accs.mean(), abs=1e-3)
    assert float(row['std']) == pytest.approx(accs.std(), abs=1e-3)
    assert row['set_means'].split() == [f'{part.mean():.3f}' for part in accs.reshape(2, 2)]
    assert row['command'].startswith('python ') and '--Iteration 2' in row['command']
    assert row['num_cluster'] == row['draw'] == '' and row['protocol'] == 'dc' and row['epochs'] == '2'


def test_unfinished_runs_say_how_far_they_are(runs):
    (line,) = collect(runs)[1]
    assert line.startswith('begun: set 1, iteration 2, loss ') and line.endswith(' % at iteration 2, stopped')
    with (runs / 'begun' / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert collect(runs)[1][0].endswith(', running')


def test_damaged_runs_are_left_out_of_the_report(runs, tmp_path, capsys):
    folder = shutil.copytree(runs, tmp_path / 'results')
    for name, change in (
        ('empty', lambda run: next(run.glob('res_*')).write_bytes(b'')),
        ('no args', lambda run: (run / 'args.json').write_text('{}')),
        ('no log', lambda run: (run / 'log.jsonl').unlink()),
        ('half a line', lambda run: (run / 'log.jsonl').write_text('{"a"}')),
    ):
        damaged = shutil.copytree(next(folder.glob('DC*')), folder / name)
        if name in ('no log', 'half a line'):  # unfinished, too
            next(damaged.glob('res_*')).unlink()
        change(damaged)
    rows, unfinished, broken = collect(folder)
    assert [len(rows), len(unfinished), len(broken)] == [2, 1, 4]
    main_report.main(['--results', str(folder)])
    output = capsys.readouterr().out
    assert output.count('cannot be read, left out') == 4
    assert output.splitlines()[-1] == '2 finished, 1 unfinished, 4 unreadable'
    (folder / 'summary.csv').write_bytes(b'\xff\xfe')
    for flags in ([], ['--readme', 'nope.md'], ['--readme', 'LICENSE']):
        with pytest.raises(SystemExit) as exit_:
            main_report.main(['--results', str(folder), *flags])
        assert exit_.value.code == 2 and capsys.readouterr().err.count('\n') == 1


def test_cluster_flags_count_for_clustered_methods_only():
    args = {'dataset': 'a/CIFAR10', 'num_cluster': 20, 'draw': 'cluster', 'mix': None, 'equal_batch': False}
    plain, clustered = settings_of(args | {'method': 'DC'}), settings_of(args | {'method': 'BS'})
    assert plain['num_cluster'] == '' and clustered['num_cluster'] == '20' and plain['dataset'] == 'CIFAR10'
    assert clustered['equal_batch'] == ''
    equal = settings_of(args | {'method': 'DC', 'equal_batch': True})
    assert (equal['num_cluster'], equal['equal_batch']) == ('20', 'True')


def test_the_summary_keeps_rows_of_runs_that_are_gone(tmp_path, capsys):
    old, new = [row_of(run='gone'), row_of(run='again', mean=1.0)], [row_of(run='again', mean=2.0, ipc='10')]
    write(tmp_path / 'summary.csv', merge(old, new))
    rows = read(tmp_path / 'summary.csv')
    assert [(row['run'], row['mean']) for row in rows] == [('gone', '28.0'), ('again', '2.0')]
    main_report.main(['--results', str(tmp_path)])  # as in a clone, where no run is
    lines = capsys.readouterr().out.splitlines()
    assert 'no finished run' in lines[0] and lines[2].endswith('gone') and len(lines) == 4
    (tmp_path / 'summary.csv').write_text('a,b\n')
    with pytest.raises(SystemExit) as exit_:
        main_report.main(['--results', str(tmp_path)])
    assert exit_.value.code == 2


def test_pooling_equals_that_of_all_networks():
    rng = np.random.default_rng(0)
    accs = [rng.normal(28, 1, (sets, 20)) for sets in (1, 3)]
    rows = [
        row_of(mean=a.mean(), std=a.std(), sets=' '.join(map(str, a.mean(1))), num=a.size, seed=str(seed))
        for seed, a in enumerate(accs)
    ]
    mean, std, num, sets = pooled(rows)
    together = np.concatenate(accs)
    assert (mean, std, num) == (pytest.approx(together.mean()), pytest.approx(together.std()), 80)
    assert np.allclose(sets, together.mean(1))


def test_a_seed_counts_once_whatever_its_precision():
    rows = [row_of(precision='bf16'), row_of(precision='fp32'), row_of(precision='bf16', seed='1')]
    assert [(row['precision'], row['seed']) for row in matching(rows, {})] == [('bf16', '0'), ('bf16', '1')]


def test_far_cells_are_marked():
    paper = [{'mean': '28.3', 'std': '0.5'}]
    assert cell_text([row_of(mean=28.0)], paper) == '**28.0 ± 0.5**, 1 x 20 (28.3 ± 0.5)'
    assert cell_text([row_of(mean=20.0)], paper) == '**20.0 ± 0.5** *, 1 x 20 (28.3 ± 0.5)'
    assert cell_text([], paper) == 'not run (28.3 ± 0.5)' and cell_text([], []) == 'not run (–)'


def test_the_page_has_every_table_and_the_commands_of_empty_cells():
    rows = [row_of(), bs_row(mean=27.5), row_of(Iteration='100', mean=11.1)]
    page = results_page(rows, published(main_report.PUBLISHED))
    assert '| DC | **28.0 ± 0.5**, 1 x 20 (28.3 ± 0.5) | not run (44.9 ± 0.5)' in page
    assert page.count('**27.5 ± 0.5**') == 3  # in all three tables of the study
    assert '- DC, ipc 1: protocol dc, 300 epochs, seed 0, bf16, 3 minutes on a CPU, commit abc' in page
    assert '**11.1' not in page and '11.10 ± 0.50' in page  # a short run is no cell of the study
    assert 'python main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 --ipc 10' in page
    assert page.count('- DC = -0.50 points; 1 and 1 sets are too few') == 1


def test_commands_fill_their_cells():
    assert command_of({'method': 'random'}, '1').startswith('python main_eval.py --synset random')
    line = command_of(bs_row() | {'method': 'BS-DSA', 'draw': 'stratified'}, '50')
    assert line.endswith('--num_cluster 20 --ipc 50 --method DSA --draw stratified')
    line = command_of(bs_row() | {'method': 'DC', 'equal_batch': 'True'}, '1')
    assert line.endswith('--method DC --ipc 1 --equal_batch --layer_idx 3 --num_cluster 20')


def test_tables_of_another_data_set():
    study = {'dataset': 'Digits', 'model': 'MLP', 'network': 'MLP', 'Iteration': '5'}
    rows = [row_of(), row_of(**study, mean=90.0)]
    page = results_page(rows, published(main_report.PUBLISHED), study)
    assert '| DC | **90.0 ± 0.5**, 1 x 20 (–) |' in page
    assert 'main.py --dataset Digits --model MLP --Iter' in page


def test_a_short_run_has_no_published_value():
    rows = [row_of('DM', Iteration='1000', protocol='dsa', mean=24.0), row_of(Iteration='200', mean=27.0)]
    page = results_page(rows, published(main_report.PUBLISHED))
    assert '| DM (1000 iterations) | **24.0 ± 0.5**, 1 x 20 (–) |' in page
    assert '| DM (20000 iterations) | not run (26.0 ± 0.8) |' in page
    assert '| none | **27.0 ± 0.5**, 1 x 20 (–) |' in page
    assert 'python main.py --dataset CIFAR10 --Iteration 1000 --method DM --ipc 10' in page
    assert 'python main.py --dataset CIFAR10 --method DM --ipc 10' in page


def test_coresets_by_other_features_are_rows_of_their_own():
    page = results_page(
        [row_of('herding', Iteration='0', other='feature_net=ConvNet', mean=21.0)],
        published(main_report.PUBLISHED),
    )
    assert '| herding | not run (21.5 ± 1.2) |' in page
    assert '| herding by features of a ConvNet | **21.0 ± 0.5**, 1 x 20 (21.5 ± 1.2) |' in page
    assert '--method kcenter --ipc 50 --num_exp 1 --feature_net ConvNet' in page


def test_significance_is_welchs_test_over_sets():
    bs, dc = [27.9, 28.3, 28.0], [28.6, 28.2]
    rows = [row_of(sets=' '.join(map(str, dc)), num=40), bs_row(sets=' '.join(map(str, bs)), num=60)]
    (line,) = significance(rows)
    assert line.startswith('- ipc 1: BS (k 20, layer 3) - DC = ')
    assert f'p = {ttest_ind(bs, dc, equal_var=False).pvalue:.3f}' in line and '3 and 2 sets' in line


def test_published_values_have_a_source():
    rows = published(main_report.PUBLISHED)
    assert all(row['source'] and 10 < float(row['mean']) < 100 for row in rows)
    keys = [
        tuple(row[key] for key in ('dataset', 'method', 'ipc', 'num_cluster', 'layer_idx')) for row in rows
    ]
    assert len(set(keys)) == len(keys)


def test_the_script_writes_the_summary_and_names_what_it_cannot_read(runs, tmp_path, capsys):
    folder = shutil.copytree(runs, tmp_path / 'results')
    log = next(folder.glob('random*/log.jsonl'))
    log.write_text(log.read_text()[:-9])
    main_report.main(['--results', str(folder), '--out', str(tmp_path / 'page.md')])
    output = capsys.readouterr().out
    assert (
        'cannot be read, left out' in output and log.parent.name in output and 'unfinished: begun' in output
    )
    assert [row['method'] for row in csv.DictReader((folder / 'summary.csv').open())] == ['DC']
    assert (tmp_path / 'page.md').read_text().startswith('# Results')


def test_two_folders_are_compared(runs, tmp_path, capsys):
    main_report.main(['--results', str(runs), str(runs)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.endswith('+0.00') for line in lines[1:])
    with pytest.raises(SystemExit):
        (tmp_path / 'empty').mkdir()
        main_report.main(['--results', str(runs), str(tmp_path / 'empty')])
    assert 'no finished run in common' in capsys.readouterr().err


def test_the_readme_has_the_numbers_of_the_committed_summary():
    root = main_report.PUBLISHED.parents[1]
    text, rows = (root / 'README.md').read_text(), read(root / 'results' / 'summary.csv')
    assert with_numbers(text, rows, published(main_report.PUBLISHED)) == text
    assert with_numbers(text, [], published(main_report.PUBLISHED)) != text


def test_the_committed_page_is_that_of_the_committed_summary():
    docs = main_report.PUBLISHED.parent
    rows = read(docs.parent / 'results' / 'summary.csv')
    assert rows and (docs / 'results.md').read_text() == results_page(rows, published(main_report.PUBLISHED))


def test_the_kept_runs_are_those_of_the_committed_summary():
    docs = main_report.PUBLISHED.parent
    rows, unfinished, broken = collect(docs / 'runs')
    known = {(row['run'], row['network']): row for row in read(docs.parent / 'results' / 'summary.csv')}
    assert rows and not unfinished + broken
    assert all(known[row['run'], row['network']] == row for row in rows)


def test_other_settings_are_read_from_the_name_of_a_run():
    args = {'method': 'DC', 'num_exp': 1, 'reduce': 'mask', 'mask_quantile': 0.5, 'dsa_strategy': 'crop_flip'}
    name = 'DC_CIFAR10_ConvNet_1ipc_seed0_mask_quantile=0.5_num_exp=1_reduce=mask'
    assert other_settings(name, args) == 'mask_quantile=0.5 reduce=mask'
    assert other_settings('DSA_x_y_1ipc_seed0_dsa_strategy=crop_flip', args) == 'dsa_strategy=crop_flip'
    assert other_settings('DC_CIFAR10_ConvNet_1ipc_seed0_num_exp=1', args) == ''


def test_a_run_with_other_settings_is_no_cell_of_table_1():
    rows = [row_of(), row_of(other='reduce=maxpool1', Iteration='200', mean=20.0)]
    page = results_page(rows, published(main_report.PUBLISHED))
    assert page.count('**28.0 ± 0.5**') == 1 and '| maxpool1 | **20.0 ± 0.5**, 1 x 20 (–)' in page
    assert 'python main.py --dataset CIFAR10 --Iteration 200 --method DC --ipc 1 --reduce maxpool2' in page
    assert 'python main.py --dataset CIFAR10 --model AlexNet --method DD --ipc 10' in page


def test_every_cell_of_batch_sampling_is_compared_once():
    cells = comparisons()
    assert [label for label in cells if 'layer 3' in label or 'k 20' in label] == [
        'BS (k 20, layer 3) - DC',
        'BS stratified (k 20, layer 3) - DC',
        'BS on DSA (k 20, layer 3) - DSA',
    ]
    assert cells['BS (k 5) - DC'][0]['num_cluster'] == '5' and len(cells) == 3 + 4 + 3
    assert all(base['method'] == label.rsplit(' ', 1)[1] for label, (_, base) in cells.items())
