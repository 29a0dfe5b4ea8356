"""The report: rows hold what runs gave, tables pool and compare, broken runs are named."""

import csv
import dataclasses
import fcntl
import json
import shlex
import shutil

import numpy as np
import pytest
import torch
from scipy.stats import ttest_ind, ttest_rel

import main as main_script
import main_eval
import main_report
from evaluation.evaluate import STREAM, evaluate_network
from evaluation.protocol import protocol_of
from experiment.arguments import Arguments, parse_condensing
from experiment.result import label_of
from main_report import DOCS, PUBLISHED
from methods import SHELF
from report.cells import CORESETS, PLAIN, STUDY, TABLES, comparisons, ipcs_of
from report.gaps import gap_texts, gaps
from report.kept import keep_run, kept_page
from report.logs import images_seen, read_log
from report.pooling import matching, pooled
from report.readme import MARKS, has_marks, with_numbers
from report.summary import (
    SETTINGS,
    Row,
    collect,
    merge_rows,
    other_settings,
    settings_of,
)
from report.summary_file import read_summary, write_summary
from report.tables import (
    cell_text,
    command_of,
    pairs_of,
    published,
    results_page,
    significance,
)
from utils import Rng, UserError


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


def row_of(method='DC', mean=28.0, std=0.5, sets=(28.0,), num=20, **changes):
    """Return a row of the summary; changes are settings or fields."""
    settings = dict.fromkeys(SETTINGS) | {name: STUDY[name] for name in STUDY if name in SETTINGS}
    chosen = method in CORESETS
    settings |= {'method': method, 'ipc': 1, 'factor': 1, 'seed': 0, 'precision': 'bf16'}
    settings |= {'draw': None if chosen else 'uniform', 'Iteration': None if chosen else 1000}
    settings |= {name: changes.pop(name) for name in [*changes] if name in SETTINGS}
    row = Row(
        settings=settings, other='', label=method, network='ConvNet', protocol='dc', epochs=300,
        mean=mean, std=std, set_means=tuple(sets), start=10.0, images_seen=256, num_networks=num,
        condense_minutes=1.0, evaluate_minutes=2.0, device='a CPU', commit='abc', started='',
        command=f'python {method}', run=f'{method} {settings} {changes}',
    )  # fmt: skip
    return dataclasses.replace(row, **changes)


CLUSTERS = {'num_cluster': 20, 'layer_idx': 3, 'norm': True, 'draw': 'cluster'}


def bs_row(**changes):
    return row_of(**CLUSTERS | changes)


def test_rows_hold_what_the_runs_gave(runs):
    rows, unfinished, broken = collect(runs)
    assert [row['method'] for row in rows] == ['DC', 'random'] and not broken
    assert len(unfinished) == 1 and 'begun: set 1, iteration 2' in unfinished[0]
    row, stored = rows[0], torch.load(next(runs.glob('DC*/res_*.pt')), weights_only=True)
    accs = 100 * np.array(stored['accs_all_exps']['MLP'])
    assert row.mean == pytest.approx(accs.mean(), abs=1e-3)
    assert row.std == pytest.approx(accs.std(), abs=1e-3)
    assert row.set_means == pytest.approx(accs.reshape(2, 2).mean(1), abs=1e-3)
    assert row.command.startswith('python ') and '--Iteration 2' in row.command
    assert row['num_cluster'] is None and row['draw'] == 'uniform' and row['Iteration'] == 2
    assert (row.protocol, row.epochs, row.stored) == ('dc', 2, '1')
    assert rows[1].start is None and rows[1].images_seen == 0
    assert rows[1]['draw'] is rows[1]['Iteration'] is None


def test_unfinished_runs_say_how_far_they_are(runs):
    (line,) = collect(runs)[1]
    assert line.startswith('begun: set 1, iteration 2, loss ')
    assert line.endswith(' % at iteration 2, stopped')
    with (runs / 'begun' / 'lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert collect(runs)[1][0].endswith(', running')


def test_a_log_without_loss_is_reported_too(runs, tmp_path):
    begun = shutil.copytree(runs / 'begun', tmp_path / 'begun')
    record = {'exp': 0, 'iteration': 3, 'seconds': 1.0}
    (begun / 'log.jsonl').write_text(json.dumps(record) + '\n')
    assert collect(tmp_path)[1] == ['begun: set 0, iteration 3, stopped']


def test_damaged_runs_are_left_out_of_the_report(runs, tmp_path, capsys):
    folder = shutil.copytree(runs, tmp_path / 'results')
    for name, change in (
        ('empty', lambda run: next(run.glob('res_*')).write_bytes(b'')),
        ('no args', lambda run: (run / 'args.json').write_text('{}')),
        ('no log', lambda run: (run / 'log.jsonl').unlink()),
        ('half a line', lambda run: (run / 'log.jsonl').write_text('{"a"}\n')),
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


def test_settings_have_columns_or_are_named():
    args = {'method': 'DC', 'dataset': 'a/flowers.npz', 'ipc': 1, 'draw': 'uniform', 'lr_img': 0.5}
    args |= {'changed': {'lr_img': 0.5, 'num_exp': 1, 'draw': 'equal', 'reduce': 'mask'}}
    settings = settings_of(args)
    assert settings['dataset'] == 'flowers' and settings['num_cluster'] is None
    # Evaluation makes no other experiment, and what has a column is not named a second time.
    assert other_settings(args) == 'lr_img=0.5 reduce=mask'
    assert settings_of({'synset': 'x/set.pt', 'dataset': 'Digits'})['method'] == 'x/set.pt'


def test_the_summary_keeps_rows_of_runs_that_are_gone(tmp_path, capsys):
    old = [bs_row(run='gone'), row_of('random', run='again', mean=1.0)]
    new = [row_of('random', run='again', mean=2.0, ipc=10)]
    write_summary(tmp_path / 'summary.csv', merge_rows(old, new))
    rows = read_summary(tmp_path / 'summary.csv')
    assert rows == [old[0], new[0]]  # every value comes back, of its own type
    main_report.main(['--results', str(tmp_path)])  # as in a clone, where no run is
    lines = capsys.readouterr().out.splitlines()
    assert 'no finished run' in lines[0] and lines[2].endswith('gone') and len(lines) == 4
    for text in ('a,b\n', '', (tmp_path / 'summary.csv').read_text().replace('28.000', 'many')):
        (tmp_path / 'summary.csv').write_text(text)
        with pytest.raises(SystemExit) as exit_:
            main_report.main(['--results', str(tmp_path)])
        assert exit_.value.code == 2 and capsys.readouterr().err.count('\n') == 1


def test_pooling_equals_that_of_all_networks():
    rng = np.random.default_rng(0)
    accs = [rng.normal(28, 1, (sets, 20)) for sets in (1, 3)]
    rows = [
        row_of(mean=a.mean(), std=a.std(), sets=a.mean(1), num=a.size, seed=seed)
        for seed, a in enumerate(accs)
    ]
    mean, std, num, sets = pooled(rows)
    together = np.concatenate(accs)
    assert (mean, std, num) == (pytest.approx(together.mean()), pytest.approx(together.std()), 80)
    assert np.allclose(sets, together.mean(1))


def test_a_seed_counts_once_whatever_its_precision():
    rows = [row_of(precision='bf16'), row_of(precision='fp32'), row_of(precision='bf16', seed=1)]
    chosen = [(row['precision'], row['seed']) for row in matching(rows, {})]
    assert chosen == [('bf16', 0), ('bf16', 1)]


def test_far_cells_are_marked():
    paper = [{'mean': '28.3', 'std': '0.5'}]
    assert cell_text([row_of(mean=28.0)], paper) == '**28.0 ± 0.5**, 1 x 20 (28.3 ± 0.5)'
    assert cell_text([row_of(mean=20.0)], paper) == '**20.0 ± 0.5** *, 1 x 20 (28.3 ± 0.5)'
    assert cell_text([], paper) == 'not run (28.3 ± 0.5)' and cell_text([], []) == 'not run (–)'


def test_the_page_has_every_table_and_the_commands_of_empty_cells():
    rows = [row_of(), bs_row(mean=27.5), row_of(Iteration=100, mean=11.1)]
    page = results_page(rows, published(PUBLISHED))
    assert '| DC | **28.0 ± 0.5**, 1 x 20 (28.3 ± 0.5) | not run (44.9 ± 0.5)' in page
    assert page.count('**27.5 ± 0.5**') == 3  # in all three tables of the study
    assert '| DC, ipc 1 | dc, 300 epochs | 0 | bf16 | 3 | a CPU | abc |' in page
    assert '**11.1' not in page and '11.10 ± 0.50' in page  # a short run is no cell of the study
    assert 'main_BS.py --dataset CIFAR10 --layer_idx 3 --num_cluster 5 --ipc 10`' in page
    assert '| BS (k 20, layer 3) - DC | 1 | -0.50 | 1, 1 | too few sets |' in page


def test_commands_fill_their_cells():
    assert command_of({'method': 'random'}, 1).startswith('python main_eval.py --synset random')
    cell = {'method': 'DSA'} | CLUSTERS | {'draw': 'stratified'}
    line = command_of(cell, 50)
    assert line.startswith('python main_BS.py --dataset CIFAR10 --method DSA --layer_idx 3')
    assert line.endswith('--num_cluster 20 --ipc 50 --draw stratified')
    line = command_of({'method': 'DC'} | CLUSTERS | {'draw': 'equal'}, 1)
    assert line.startswith('python main.py --dataset CIFAR10 --method DC --layer_idx 3')
    assert line.endswith('--ipc 1 --draw equal')
    cell = {'method': 'herding', 'draw': None, 'Iteration': None, 'other': 'feature_net=ConvNet'}
    line = command_of(cell, 1)
    assert line.endswith('--method herding --ipc 1 --num_exp 1 --feature_net ConvNet')


def test_tables_of_another_data_set():
    study = {'dataset': 'Digits', 'model': 'MLP', 'network': 'MLP', 'Iteration': 5}
    rows = [row_of(), row_of(**study, mean=90.0)]
    page = results_page(rows, published(PUBLISHED), study)
    assert '| DC | **90.0 ± 0.5**, 1 x 20 (–) |' in page
    assert 'main.py --dataset Digits --model MLP --Iter' in page


def test_a_short_run_has_no_published_value():
    rows = [row_of(Iteration=200, mean=27.0)]
    rows += [row_of('DM', Iteration=1000, protocol='dsa', mean=24.0)]
    page = results_page(rows, published(PUBLISHED))
    assert '| DM (1000 iterations) | **24.0 ± 0.5**, 1 x 20 (–) |' in page
    assert '| DM (20000 iterations) | not run (26.0 ± 0.8) |' in page
    assert '| none | **27.0 ± 0.5**, 1 x 20 (–) |' in page
    assert 'python main.py --dataset CIFAR10 --Iteration 1000 --method DM --ipc 10' in page
    assert 'python main.py --dataset CIFAR10 --method DM --ipc 10' in page


def test_coresets_by_other_features_are_rows_of_their_own():
    rows = [row_of('herding', other='feature_net=ConvNet', mean=21.0)]
    page = results_page(rows, published(PUBLISHED))
    assert '| herding | not run (21.5 ± 1.2) |' in page
    assert '| herding by features of a ConvNet | **21.0 ± 0.5**, 1 x 20 (21.5 ± 1.2) |' in page
    assert '--method kcenter --ipc 50 --num_exp 1 --feature_net ConvNet' in page


def test_significance_is_welchs_test_over_sets():
    bs, dc = [27.9, 28.3, 28.0], [28.6, 28.2]
    *_, line = significance([row_of(sets=dc, num=40), bs_row(sets=bs, num=60)])
    assert line.startswith('| BS (k 20, layer 3) - DC | 1 |') and '| 3, 2 |' in line
    assert line.endswith(
        f'| {ttest_ind(bs, dc, equal_var=False).pvalue:.3f} '
        f'| {ttest_rel(bs[:2], dc).pvalue:.3f} (2) |'
    )


def test_the_paired_test_takes_the_seeds_that_both_have():
    dc = [row_of(seed=seed, mean=mean, sets=[mean], Iteration=200)
          for seed, mean in enumerate([30.0, 28.0, 27.4, 28.3])]  # fmt: skip
    bs = [bs_row(seed=seed, mean=mean, sets=[mean], Iteration=200)
          for seed, mean in [(3, 28.2), (1, 27.6), (2, 27.3)]]  # fmt: skip
    *_, line = significance(dc + bs)
    assert line.startswith('| BS (k 20, layer 3), 200 iterations - DC | 1 |')
    assert line.endswith(f'| {ttest_rel([27.6, 27.3, 28.2], [28.0, 27.4, 28.3]).pvalue:.3f} (3) |')
    *_, line = significance(dc[:1] + bs)
    assert line.endswith('| too few sets | – |')


def test_published_values_have_a_source():
    rows = published(PUBLISHED)
    assert all(row['source'] and 10 < float(row['mean']) < 100 for row in rows)
    names = 'dataset', 'method', 'ipc', 'num_cluster', 'layer_idx'
    keys = [tuple(row[key] for key in names) for row in rows]
    assert len(set(keys)) == len(keys)


def test_the_script_writes_the_summary_and_names_what_it_cannot_read(runs, tmp_path, capsys):
    folder = shutil.copytree(runs, tmp_path / 'results')
    log = next(folder.glob('random*/log.jsonl'))
    log.write_text(log.read_text()[:-9])
    main_report.main(['--results', str(folder), '--out', str(tmp_path / 'page.md')])
    output = capsys.readouterr().out
    assert 'cannot be read, left out' in output and log.parent.name in output
    assert 'unfinished: begun' in output
    assert [row['method'] for row in csv.DictReader((folder / 'summary.csv').open())] == ['DC']
    assert (tmp_path / 'page.md').read_text().startswith('# Results')


def test_two_folders_are_compared(runs, tmp_path, capsys):
    main_report.main(['--results', str(runs), str(runs)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and all(line.endswith('+0.00') for line in lines[1:])
    (tmp_path / 'empty').mkdir()
    with pytest.raises(SystemExit):
        main_report.main(['--results', str(runs), str(tmp_path / 'empty')])
    assert 'no finished run in common' in capsys.readouterr().err


def test_a_kept_run_gives_the_same_rows_and_curves(runs, tmp_path, monkeypatch, capsys):
    run = next(runs.glob('DC*'))
    kept = keep_run(run, tmp_path / 'runs')
    assert sorted(path.suffix for path in kept.iterdir()) == ['.json', '.pt', '.xz']
    for old, new in zip(read_log(run), read_log(kept), strict=True):
        assert new.keys() == old.keys()
        assert new.get('loss', 0) == pytest.approx(old.get('loss', 0), rel=1e-4)
        assert new.get('accs') == old.get('accs')
    (old,), (new,) = collect(runs)[0][:1], collect(tmp_path / 'runs')[0]
    same = dataclasses.replace(new, condense_minutes=0.0, evaluate_minutes=0.0)
    assert same == dataclasses.replace(old, condense_minutes=0.0, evaluate_minutes=0.0)
    page = kept_page(tmp_path / 'runs', [new])
    assert f'{new.mean:.2f} ± {new.std:.2f}' in page and 'main_eval.py --dataset Digits' in page
    with pytest.raises(UserError, match='holds no finished run to keep'):
        keep_run(runs / 'begun', tmp_path / 'runs')
    (kept / 'log.jsonl.xz').write_bytes(b'x')
    assert 'cannot be read as a log' in collect(tmp_path / 'runs')[2][0]


@pytest.mark.parametrize('name', ['README.md', 'README.ko.md'])
def test_the_readmes_have_the_numbers_of_the_committed_summary(name):
    text, rows = (DOCS.parent / name).read_text(), read_summary(DOCS / 'summary.csv')
    assert with_numbers(text, rows, published(PUBLISHED)) == text
    assert with_numbers(text, [], published(PUBLISHED)) != text
    assert has_marks(text) and not has_marks(text + MARKS['first'][0])
    first, last = MARKS['first']
    swapped = text.replace(first, 'x').replace(last, first).replace('x', last)
    assert not has_marks(swapped)


def test_the_committed_page_is_that_of_the_committed_summary():
    rows = read_summary(DOCS / 'summary.csv')
    assert rows and (DOCS / 'results.md').read_text() == results_page(rows, published(PUBLISHED))


def test_the_kept_runs_are_those_of_the_committed_summary():
    rows, unfinished, broken = collect(DOCS / 'runs')
    summary = read_summary(DOCS / 'summary.csv')
    known = {(row.run, row.network): row for row in summary}
    assert rows and not unfinished + broken
    assert all(known[row.run, row.network] == row for row in rows)
    page = kept_page(DOCS / 'runs', merge_rows([], rows))
    assert (DOCS / 'runs' / 'README.md').read_text() == page


def test_a_run_with_other_settings_is_no_cell_of_table_1():
    rows = [row_of(), row_of(other='reduce=maxpool1', Iteration=200, mean=20.0)]
    page = results_page(rows, published(PUBLISHED))
    assert page.count('**28.0 ± 0.5**') == 1 and '| maxpool1 | **20.0 ± 0.5**, 1 x 20 (–)' in page
    assert '--Iteration 200 --method DC --ipc 1 --reduce maxpool2' in page
    assert 'python main.py --dataset CIFAR10 --model AlexNet --method DD --ipc 10' in page


def test_every_cell_of_batch_sampling_is_compared_once():
    cells, alike = comparisons(), ('Iteration', 'other')
    assert [label for label in cells if 'layer 3' in label or 'k 20' in label] == [
        'BS (k 20, layer 3) - DC',
        'BS stratified (k 20, layer 3) - DC',
        'BS on DSA (k 20, layer 3) - DSA',
        *(
            f'{name} (k 20, layer 3), {length} - DC'
            for length in ('200 iterations', '100 iterations', '--recipe fast')
            for name in ('BS', 'BS stratified')
        ),
    ]
    assert cells['BS (k 5) - DC'][0]['num_cluster'] == 5 and len(cells) == 3 + 4 + 6 + 3
    assert all(base['method'] == label.rsplit(' ', 1)[1] for label, (_, base) in cells.items())
    for cell, base in cells.values():
        assert [base.get(name) for name in alike] == [cell.get(name) for name in alike]
    assert set(PLAIN) == {'factor', 'draw', 'layer_idx', 'num_cluster', 'norm', 'mix', 'other'}


CELLS = [
    (label, cell, ipc)
    for title, cells in TABLES.items()
    for label, cell in cells.items()
    for ipc in ipcs_of(title)
    if cell['method'] != 'random'
]


@pytest.mark.parametrize(('label', 'cell', 'ipc'), CELLS)
def test_the_command_of_a_cell_fills_it(label, cell, ipc):
    name, *words = shlex.split(command_of(cell, ipc))[1:]
    fills(words, 'cluster' if 'BS' in name else 'uniform', cell, ipc)


@pytest.mark.parametrize(('label', 'cell', 'ipc'), [case for case in CELLS if '--rec' in case[0]])
def test_a_cell_of_a_recipe_is_that_of_the_recipe(label, cell, ipc):
    recipe = label.split('--recipe ')[1].rstrip(')')
    words = ['--method', cell['method'], '--recipe', recipe, '--ipc', str(ipc)]
    fills([*words, '--protocol', cell['protocol']], 'uniform', cell, ipc)


def fills(words, draw, cell, ipc):
    """Assert that a run of these words belongs into a cell."""
    args = vars(parse_condensing('', words, SHELF, draw))
    made = settings_of(args) | {'other': other_settings(args), 'protocol': protocol_of(args)}
    made['network'] = args['model']
    wanted = PLAIN | STUDY | cell | {'ipc': ipc}
    assert {key: made[key] for key in wanted} == wanted


def test_pairs_are_of_one_device_and_the_same_networks():
    cpu, gpu = (row_of(sets=[28.0], device=device) for device in ('x, 2 threads', 'NVIDIA'))
    assert pairs_of([cpu], [cpu]).tolist() == [[28.0, 28.0]]
    assert pairs_of([cpu], [gpu]).shape == (0, 2)
    fewer = row_of(sets=[28.0], device='x, 2 threads', num=5)
    assert pairs_of([cpu], [fewer]).shape == (0, 2)


def test_images_are_counted_as_often_as_steps_saw_them():
    records = [{'batch_real': 10.0}, {'accs': {}}, {'batch_real': 8.0, 'image_steps': 2}]
    assert images_seen(records, {'outer_loop': 5}, 1) == 10 * 5 + 8 * 2


def test_gaps_are_those_of_a_calculation_by_hand():
    two = [row_of('random', mean=mean, num=num, seed=seed, Iteration=None)
           for seed, (mean, num) in enumerate([(14.0, 20), (15.0, 60)])]  # fmt: skip
    full = row_of('full', mean=80.0, epochs=30, ipc=5000)
    row = row_of(mean=28.25, other='batch_real=16 level=inter')
    rows = [row, *two, full]
    assert gaps(row, rows) == (pytest.approx(80 - 28.25), pytest.approx(28.25 - 14.75))
    assert gap_texts(row, rows) == ('51.75', '13.50')
    assert gap_texts(two[0], rows) == ('66.00', '–') and gap_texts(full, rows) == ('–', '–')
    assert gap_texts(row, [row, full]) == ('51.75', '–')
    assert gap_texts(row_of(factor=2, mean=30.0), rows) == ('50.00', '15.25')  # the same storage
    page = results_page(rows, published(PUBLISHED))
    assert '| 28.25 ± 0.50 | 10.00 | 51.75 | 13.50 | 1 x 20 ConvNet | dc, 300 epochs |' in page


@pytest.mark.parametrize(
    'changes',
    [{'network': 'MLP'}, {'protocol': 'dsa'}, {'dataset': 'MNIST'}, {'other': 'im_size=16'},
     {'other': 'lr_net=0.1'}, {'other': 'batch_train=16'}, {'other': 'dsa_strategy=color'}],
)  # fmt: skip
def test_rows_of_another_network_protocol_or_data_are_not_compared(changes):
    full, random = row_of('full', epochs=30, ipc=5000), row_of('random')
    assert gaps(row_of(**changes), [full, random]) == (None, None)
    # The row of all images is the one that differs.
    others = [row_of('full', epochs=30, **changes), row_of('random', **changes)]
    assert gaps(row_of(), others) == (None, None)


def test_random_images_of_another_ipc_size_or_length_are_no_baseline():
    for changes in ({'ipc': 10}, {'factor': 2}, {'epochs': 1000}):
        assert gaps(row_of(), [row_of('random', **changes)])[1] is None
    assert gaps(row_of(), [row_of('random')])[1] == 0


def test_all_real_images_are_a_row_and_train_as_a_set_does(tmp_path, capsys, digits):
    line = '--dataset Digits --model MLP --num_eval 1 --epoch_eval_train 1 --precision fp32'
    words = [*line.split(), '--save_path', str(tmp_path), '--device', 'cpu']
    for synset in ('full', 'random'):
        main_eval.main([*words, '--synset', synset, *['--num_exp', '1'] * (synset == 'random')])
    capsys.readouterr()
    main_report.main(['--results', str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert 'HLR' in lines[0] and 'IOR' in lines[0] and 'all real images' in lines[2]
    full, random = collect(tmp_path)[0]
    assert (full['ipc'], full.epochs, full.sets_x_networks) == (134, 1, '1 x 1')
    assert f'{full.mean - random.mean:.2f}' in lines[1]
    # The numbers are those of the same images as one tensor.
    images, labels = digits.normalise(digits.pixels_train), digits.labels_train
    accuracy = evaluate_network(
        images, labels, digits, 'MLP', Rng('cpu', 0, 0, STREAM, 'MLP', 0), strategy='None',
        epochs=1, lr_net=0.01, batch_train=256, precision='fp32',
    )  # fmt: skip
    assert full.mean == pytest.approx(100 * accuracy, abs=1e-3)
    stored = torch.load(next(tmp_path.glob('full*/res_*')), weights_only=True)['data']
    assert stored[0][1].tolist() == list(range(10))  # not all of them


def test_all_real_images_take_30_epochs_and_no_flags_of_sets(digits, tmp_path, capsys):
    args = Arguments(
        dataset='Digits', model='MLP', ipc=1, seed=0, precision='fp32', changed={}, protocol=None,
        epoch_eval_train=None, num_exp=5,
    )  # fmt: skip
    (images, labels), *others = (one := main_eval.prepared('full', digits, args)).pairs
    assert one.args.epoch_eval_train == 30 and one.args.num_exp == 1 and not others
    assert one.args.run_name == 'full_Digits_MLP_seed0_fp32_epoch_eval_train=30'
    assert len(images) == len(labels) and images[torch.arange(3)].shape == (3, *digits.shape)
    for flags in (['--ipc', '1'], ['--factor', '2'], ['--num_exp', '2']):
        with pytest.raises(SystemExit) as exit_:
            line = ['--dataset', 'Digits', '--model', 'MLP', '--save_path', str(tmp_path)]
            main_eval.main([*line, '--synset', 'full', *flags])
        assert exit_.value.code == 2 and capsys.readouterr().err.count('\n') == 1


def test_a_file_called_random_is_no_baseline():
    for name in ('random', 'full'):
        own = {'synset': name, 'dataset': 'Digits'}
        assert settings_of(own)['method'] == name
        file = own | {'synset': f'x/{name}.pt', 'made_by': {}}
        assert settings_of(file)['method'] == label_of(file) == f'x/{name}.pt'
    assert label_of({'synset': 'full', 'made_by': {}}) == 'all real images'
