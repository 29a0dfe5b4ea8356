"""Damaged runs, summaries and inputs: the right result, or one line and exit code 2."""

import csv
import json
import lzma
import os
import shutil

import numpy as np
import pytest
import torch

import main_report
import report.kept
import storage.files
from experiment.result import load_result
from figures import clusters as clusters_figure
from figures import curves, embedding, grid, heatmap, study
from figures import diagram as diagram_figure
from figures import gradient_error as gradient_error_figure
from figures.style import plain, plt
from report.cross_architecture import NetworksTable
from report.kept import keep_run
from report.markup import code, csv_of, escaped, lines_of, unquoted
from report.pooling import matching
from report.readme import MARKS
from report.summary import collect, merge_rows
from report.summary_file import read_summary, write_summary
from report.tables import results_page
from tests.test_report import row_of
from utils import UserError

FLAGS = {
    'dataset': 'Digits', 'method': 'DC', 'model': 'MLP', 'ipc': 1, 'Iteration': 2, 'factor': 1,
    'draw': 'uniform', 'seed': 0, 'precision': 'fp32', 'dsa_strategy': 'None',
    'epoch_eval_train': None, 'data_hash': 'abc',
}  # fmt: skip
ARGS = FLAGS | {
    'command': ['main.py', '--ipc', '1'], 'started': '2026-01-01T00:00:00',
    'environment': {'device': 'a CPU', 'commit': 'abcdef123'},
}  # fmt: skip
STEP = {'exp': 0, 'iteration': 1, 'seconds': 1.0, 'loss': 2.0, 'batch_real': 10.0}
STEP |= {side: {'a': 1.0, 'b': 2.0} for side in ('grad_norm_real', 'grad_norm_syn')}
EVALUATED = {'exp': 0, 'iteration': 2, 'accs': {'MLP': [0.25, 0.75]}, 'evaluate_seconds': 6.0}
RESULT = 'res_DC_Digits_MLP_1ipc.pt'


def save(path, **changes):
    """Write a result file of one set of Digits; a change to None leaves a part out."""
    images, labels = torch.zeros(10, 1, 8, 8), torch.arange(10)
    content = {'data': [[images, labels]], 'accs_all_exps': {'MLP': [0.25, 0.75]}, 'args': FLAGS}
    content |= {'mean': [0.3], 'std': [0.4]} | changes
    torch.save({key: value for key, value in content.items() if value is not None}, path)
    return path


def write_run(folder, **changes):
    """Write a finished run."""
    folder.mkdir(parents=True)
    (folder / 'args.json').write_text(json.dumps(ARGS | changes))
    lines = [STEP, STEP | {'iteration': 2}, EVALUATED]
    (folder / 'log.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    save(folder / RESULT, args=FLAGS | {k: v for k, v in changes.items() if k in FLAGS})
    return folder


def fails(call, capsys, *words):
    """Check that a script ends in exit code 2 and one line, which holds the words; return it."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        call()
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count('\n') == 1 and error.startswith('error: '), error
    assert all(word in error for word in words), error
    return error


def picture_or_line(script, words, capsys):
    """Check that a figure is drawn, or one line says why it cannot be."""
    try:
        script.main(words)
    except SystemExit as end:
        error = capsys.readouterr().err
        assert end.code == 2 and error.count('\n') == 1 and not os.path.exists(words[-1]), error
    else:
        assert os.path.getsize(words[-1]) > 1000 and not capsys.readouterr().err


def replaced(name, content):
    """Return a damage: the file of this name has this content."""
    content = content if isinstance(content, bytes) else content.encode()
    return lambda run: (run / name).write_bytes(content)


def instead(name, make):
    """Return a damage: in place of the file there is what make(path) makes."""

    def damage(run):
        (run / name).unlink()
        make(run / name)

    return damage


def arguments(**changes):
    """Return a damage: args.json with other values; ... stands for a missing one."""
    values = {key: value for key, value in (ARGS | changes).items() if value is not ...}
    return replaced('args.json', json.dumps(values))


def both(**changes):
    """Return a damage: other arguments in args.json and the result file alike."""

    def damage(run):
        arguments(**changes)(run)
        save(run / RESULT, args=FLAGS | changes)

    return damage


def logged(*records):
    """Return a damage: a log of these records."""
    return replaced('log.jsonl', ''.join(json.dumps(record) + '\n' for record in records))


def stored(**changes):
    """Return a damage: a result file with other parts."""
    return lambda run: save(run / RESULT, **changes)


def packed(content):
    """Return a damage: the log is compressed, and is this."""

    def damage(run):
        (run / 'log.jsonl').unlink()
        (run / 'log.jsonl.xz').write_bytes(content)

    return damage


def flipped(run):
    content = bytearray((run / RESULT).read_bytes())
    content[len(content) // 2] ^= 1
    (run / RESULT).write_bytes(content)


DAMAGES = {
    'args: truncated': replaced('args.json', json.dumps(ARGS)[:40]),
    'args: empty': replaced('args.json', ''),
    'args: a list': replaced('args.json', '[]'),
    'args: a number': replaced('args.json', '5'),
    'args: brackets': replaced('args.json', '[' * 100_000),
    'args: not UTF-8': replaced('args.json', b'{"dataset": "\xff"}'),
    'args: missing': lambda run: (run / 'args.json').unlink(),
    'args: missing, unfinished': lambda run: [
        (run / RESULT).rename(run / 'checkpoint.pt'), (run / 'args.json').unlink()
    ],
    'args: a folder': instead('args.json', lambda path: path.mkdir()),
    'args: a pipe': instead('args.json', os.mkfifo),
    **{
        f'args: no {key}': arguments(**{key: ...})
        for key in ('dataset', 'model', 'ipc', 'seed', 'environment', 'command', 'started')
    },
    **{
        f'args: {key} {value!r}': arguments(**{key: value})
        for key, value in [
            ('dataset', 5), ('ipc', 'x'), ('ipc', True), ('ipc', -1), ('ipc', 1.5), ('seed', None),
            ('seed', float('nan')), ('Iteration', '2'), ('norm', 1), ('num_cluster', [5]),
            ('factor', 0), ('draw', {}), ('method', 3), ('command', 'main.py'), ('command', [1]),
            ('environment', []), ('environment', {'device': 1, 'commit': 'a'}), ('started', 0),
            ('lr_img', 'fast'), ('changed', []), ('changed', {'lr_img': 'x'}), ('mix', 'x'),
        ]
    },
    'args: of another run': arguments(ipc=7),
    'args: no method': both(method=''),
    'args: no network': both(model=''),
    'args: a number without end': both(outer_loop=10**400),
    'log: missing': lambda run: (run / 'log.jsonl').unlink(),
    'log: half a line': replaced('log.jsonl', json.dumps(STEP)[:-9]),
    'log: a number': logged(5),
    'log: an empty line': replaced('log.jsonl', '\n'),
    'log: brackets': replaced('log.jsonl', '[' * 100_000 + '\n'),
    'log: binary': replaced('log.jsonl', bytes(range(256))),
    'log: not UTF-8': replaced('log.jsonl', b'{"exp": "\xff"}\n'),
    'log: a folder': instead('log.jsonl', lambda path: path.mkdir()),
    'log: a pipe': instead('log.jsonl', os.mkfifo),
    **{
        f'log: {change}': logged(STEP | change)
        for change in (
            {'exp': None}, {'exp': '0'}, {'iteration': -1}, {'loss': '2.0'}, {'seconds': []},
            {'loss': float('nan')}, {'batch_real': float('inf')}, {'grad_norm_real': 1.0},
            {'grad_norm_syn': {'a': 'x'}}, {'accs': []}, {'accs': {'MLP': []}},
            {'seconds': -1.0}, {'seconds': 1e308}, {'batch_real': -1},
            {'accs': {'MLP': [1.5]}}, {'accs': {'MLP': 0.5}}, {'accs': {'MLP': ['0.5']}},
        )
    },
    'log: accs alone': logged({'accs': {}}),
    'xz: empty': packed(b''),
    'xz: no archive': packed(b'x' * 99),
    'xz: cut': packed(lzma.compress(b'{"exp": 0, "iteration": 1}\n' * 99)[:-9]),
    'xz: not UTF-8': packed(lzma.compress(b'\xff\n')),
    'result: truncated': lambda run: os.truncate(run / RESULT, 700),
    'result: empty': replaced(RESULT, b''),
    'result: a flipped bit': flipped,
    'result: another file': lambda run: torch.save({'net': torch.zeros(3)}, run / RESULT),
    'result: a folder': instead(RESULT, lambda path: path.mkdir()),
    'result: a pipe': instead(RESULT, os.mkfifo),
    'result: two': lambda run: shutil.copy(run / RESULT, run / 'res_x.pt'),
    'result: no sets': stored(data=[]),
    'result: no accuracies': stored(accs_all_exps={}),
    'result: an empty list': stored(accs_all_exps={'MLP': []}),
    'result: a network without name': stored(accs_all_exps={'': [0.5]}),
    'result: NaN': stored(accs_all_exps={'MLP': [float('nan')]}),
    'result: per cent': stored(accs_all_exps={'MLP': [25.0]}),
    'result: too few': stored(data=[[torch.zeros(1, 1, 8, 8), torch.zeros(1)]] * 2,
                              accs_all_exps={'MLP': [0.1, 0.2, 0.3]}),
    'result: labels (N, 1, 1)': stored(data=[[torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 1)]]),
    'result: no args': stored(args=None),
    'result: no method': stored(args=FLAGS | {'method': None}),
    **{
        f'result: args {change}': stored(args=FLAGS | change)
        for change in (
            {'dataset': 5}, {'dataset': None}, {'ipc': 'x'}, {'seed': None}, {'norm': 'True'},
            {'layer_idx': 1.5}, {'num_cluster': '20'}, {'seed': torch.zeros(2)},
            {'epoch_eval_train': 'x'}, {'made_by': 5}, {'made_by': {'ipc': 'x'}}, {'changed': 5},
            {'ipc': 2}, {'seed': 1},
        )
    },
}  # fmt: skip


@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_run_is_named_and_counted(damage, tmp_path, capsys):
    good, bad = write_run(tmp_path / 'good'), write_run(tmp_path / 'bad')
    DAMAGES[damage](bad)
    main_report.main(['--results', str(tmp_path)])
    *_, row, named, counts = capsys.readouterr().out.splitlines()
    assert row.endswith('good') and '50.00 ± 25.00' in row
    assert named.startswith('cannot be read, left out: ') and 'bad' in named
    assert counts == '1 finished, 0 unfinished, 1 unreadable'
    assert [row.run for row in read_summary(tmp_path / 'summary.csv')] == [good.name]
    main_report.main(['--results', str(tmp_path)])  # what was written can be read
    assert capsys.readouterr().out.endswith(f'{counts}\n')
    scripts = {curves: ['accuracy', str(bad)]}
    if damage.startswith('result'):
        scripts = {grid: [str(bad / RESULT)], heatmap: [str(bad / RESULT)]}
    for script, words in scripts.items():
        picture_or_line(script, [*words, '--out', str(tmp_path / 'a.svg')], capsys)
        (tmp_path / 'a.svg').unlink(missing_ok=True)
    # It is not kept, either, and nothing is left of the try.
    capsys.readouterr()
    with pytest.raises(UserError):
        keep_run(bad, tmp_path / 'kept')
    assert not (tmp_path / 'kept').exists()


def test_a_run_without_damage_is_reported_as_it_is(tmp_path, capsys):
    write_run(tmp_path / 'good')
    (row,), unfinished, broken = collect(tmp_path)
    assert not unfinished + broken and (row.mean, row.std, row.set_means) == (50, 25, (50,))
    assert (row.images_seen, row.start, row.evaluate_minutes) == (20, None, 0.1)
    (tmp_path / 'good' / 'log.jsonl').write_text(
        json.dumps({'exp': 0, 'iteration': 0, 'accs': {}}) + '\n'
    )
    assert collect(tmp_path)[0] and not collect(tmp_path)[2]


def test_half_a_line_of_a_run_that_is_written_is_no_damage(tmp_path):
    run = write_run(tmp_path / 'run')
    (run / RESULT).unlink()
    # Cut where an inner brace ends.
    text = json.dumps(STEP) + '\n' + json.dumps(STEP | {'iteration': 2})
    (run / 'log.jsonl').write_text(text[: text.rindex('}, ') + 1])
    assert collect(tmp_path)[1:] == (['run: set 0, iteration 1, loss 2.00, stopped'], [])


def test_a_folder_of_unfinished_runs_has_no_table(tmp_path, capsys):
    (write_run(tmp_path / 'run') / RESULT).unlink()
    main_report.main(['--results', str(tmp_path)])
    unfinished, counts = capsys.readouterr().out.splitlines()
    assert unfinished.startswith('unfinished: run: set 0, iteration 2, loss 2.00, 50.00 % at')
    assert counts == '0 finished, 1 unfinished, 0 unreadable'


def test_names_that_steer_a_terminal_are_printed_without_doing_so(tmp_path, capsys):
    run = write_run(tmp_path / 'a\x1b[31m\nb', dataset='\x1b]0;x\x07')
    main_report.main(['--results', str(tmp_path)])
    assert len(collect(tmp_path)[0]) == 1 and '\x1b' not in capsys.readouterr().out
    (run / 'args.json').write_text('{')
    main_report.main(['--results', str(tmp_path)])
    output = capsys.readouterr().out
    assert '\x1b' not in output and len([x for x in output.splitlines() if 'left out' in x]) == 1


def test_a_folder_whose_name_is_not_utf8_is_named(tmp_path, capsys):
    write_run(tmp_path / 'good')
    shutil.copytree(tmp_path / 'good', tmp_path / os.fsdecode(b'\xff'))
    main_report.main(['--results', str(tmp_path)])
    assert 'not UTF-8' in capsys.readouterr().out
    assert len(read_summary(tmp_path / 'summary.csv')) == 1


# The summary


def cells_changed(**changes):
    """Return what makes other cells of the first row of a summary."""

    def damage(path):
        rows = list(csv.DictReader(path.open(newline='')))
        with path.open('w', newline='') as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows([rows[0] | changes, *rows[1:]])

    return damage


def bytes_changed(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


def folder_instead(path):
    path.unlink()
    path.mkdir()


SUMMARIES = {
    **{
        f'{name} {text!r}': (cells_changed(**{name: text}), 'line 2')
        for name, text in [
            ('mean', 'many'), ('mean', ''), ('mean', 'nan'), ('mean', '101'), ('mean', '-1'),
            ('std', 'inf'), ('set_means', ''), ('set_means', 'x'), ('set_means', '1 2 3'),
            ('ipc', 'x'), ('ipc', ''), ('ipc', '0'), ('seed', ''), ('seed', '1.5'), ('norm', 'x'),
            ('factor', ''), ('dataset', ''), ('run', ''), ('network', ''), ('epochs', 'x'),
            ('num_networks', '0'), ('num_networks', ''), ('images_seen', '1.5'), ('start', 'x'),
            ('layer_idx', 'x'), ('condense_minutes', ''), ('condense_minutes', '-1'),
        ]
    },
    'a cell is missing': (bytes_changed(lambda b: b[: b.rindex(b',')] + b'\n'), 'line 3'),
    'a cell too many': (bytes_changed(lambda b: b.rstrip() + b',more\n'), 'line 3'),
    'an empty line': (bytes_changed(lambda b: b + b'\n'), 'line 4'),
    'half a line': (bytes_changed(lambda b: b[:-30]), 'line 3'),
    'half a command': (bytes_changed(lambda b: b[:-3]), 'line 3'),
    'not UTF-8': (bytes_changed(lambda b: b + b'\xff'), 'line 4'),
    'other columns': (bytes_changed(lambda b: b.replace(b'dataset', b'data')), 'line 1'),
    'only a word': (lambda path: path.write_text('x'), 'line 1'),
    'a wrong quote': (bytes_changed(lambda b: b.replace(b'CIFAR10', b'"CIFAR"10', 1)), 'line 2'),
    'a folder': (folder_instead, 'is a folder'),
    'a pipe': (instead('', os.mkfifo), 'no regular file'),
}  # fmt: skip


@pytest.mark.parametrize('damage', SUMMARIES)
def test_a_damaged_summary_is_named_and_left_as_it_is(damage, tmp_path, capsys):
    change, place = SUMMARIES[damage]
    run, path = write_run(tmp_path / 'good'), tmp_path / 'summary.csv'
    write_summary(path, merge_rows([], [row_of(run='gone'), row_of('DSA', run='gone, too')]))
    change(path)
    before = path.read_bytes() if path.is_file() else None
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main_report.main(['--results', str(tmp_path), '--out', str(tmp_path / 'page.md')])
    output, error = capsys.readouterr()
    assert exit_.value.code == 2 and error.count('\n') == 1 and place in error, error
    assert run.name in output.splitlines()[1] and not (tmp_path / 'page.md').exists()
    assert before is None or path.read_bytes() == before


def test_an_empty_summary_is_none(tmp_path, capsys):
    write_run(tmp_path / 'good')
    (tmp_path / 'summary.csv').write_bytes(b'')
    main_report.main(['--results', str(tmp_path)])
    assert len(read_summary(tmp_path / 'summary.csv')) == 1


def test_a_folder_that_may_only_be_read_is_shown_first(tmp_path, capsys, monkeypatch):
    write_run(tmp_path / 'good')
    plain_open = os.open

    def refuse(path, flags, *mode):
        if '.part' in str(path):
            raise PermissionError(13, 'Permission denied', str(path))
        return plain_open(path, flags, *mode)

    monkeypatch.setattr(storage.files.os, 'open', refuse)
    with pytest.raises(SystemExit) as exit_:
        main_report.main(['--results', str(tmp_path)])
    output, error = capsys.readouterr()
    assert exit_.value.code == 2 and error.count('\n') == 1 and 'summary.csv cannot be' in error
    assert '50.00 ± 25.00' in output


def test_a_renamed_run_is_no_second_one(tmp_path):
    write_run(tmp_path / 'old name')
    old = collect(tmp_path)[0]
    (tmp_path / 'old name').rename(tmp_path / 'new name')
    assert [row.run for row in merge_rows(old, collect(tmp_path)[0])] == ['new name']
    write_run(tmp_path / 'another', started='2026-01-02T00:00:00')
    assert len(merge_rows(old, collect(tmp_path)[0])) == 2


def test_short_evaluations_are_not_pooled_with_whole_ones():
    rows = [row_of(run='short', epochs=5, mean=10.0), row_of(run='few', num=2), row_of(run='many')]
    assert [row.run for row in matching(rows, {})] == ['many']
    rows = [row_of(run='short', epochs=5, seed=1), row_of(run='whole')]
    assert [row.run for row in matching(rows, {})] == ['whole']


# What main_report.py is given


def readme(text):
    return lambda path: path.write_bytes(text)


MARKED = '\n| a |\n'.join(mark for pair in MARKS.values() for mark in pair)
READMES = {
    'missing': (lambda path: None, 'no such README'),
    'a folder': (lambda path: path.mkdir(), 'is a folder'),
    'a pipe': (os.mkfifo, 'no regular file'),
    'not UTF-8': (readme(b'\xff' + MARKED.encode()), 'not UTF-8'),
    'no marks': (readme(b'x'), 'each of these lines once'),
    'marks twice': (readme(2 * MARKED.encode()), 'each of these lines once'),
}


@pytest.mark.parametrize('case', READMES)
def test_a_readme_that_cannot_be_written_is_one_line(case, tmp_path, capsys):
    make, words = READMES[case]
    write_run(tmp_path / 'runs' / 'good')
    make(tmp_path / 'a.md')
    line = ['--results', str(tmp_path / 'runs'), '--readme', str(tmp_path / 'a.md')]
    fails(lambda: main_report.main(line), capsys, 'a.md', words)
    assert not (tmp_path / 'runs' / 'summary.csv').exists()  # it was found before any work


@pytest.mark.parametrize('out', ['runs', 'nothing/page.md', 'file/page.md', 'pipe'])
def test_a_page_that_cannot_be_written_is_one_line(out, tmp_path, capsys):
    write_run(tmp_path / 'runs' / 'good')
    (tmp_path / 'file').write_text('x')
    os.mkfifo(tmp_path / 'pipe')
    line = ['--results', str(tmp_path / 'runs'), '--out', str(tmp_path / out)]
    fails(lambda: main_report.main(line), capsys, out)
    assert not (tmp_path / 'runs' / 'summary.csv').exists()


@pytest.mark.parametrize('results', ['file', 'nothing', 'file/x'])
def test_results_that_are_no_folder_are_one_line(results, tmp_path, capsys):
    (tmp_path / 'file').write_text('x')
    fails(lambda: main_report.main(['--results', str(tmp_path / results)]), capsys, results)


def test_a_comparison_names_what_it_leaves_out(tmp_path, capsys):
    for folder in ('a', 'b'):
        write_run(tmp_path / folder / 'good')
        write_run(tmp_path / folder / 'bad')
    (tmp_path / 'b' / 'bad' / 'args.json').write_text('')
    main_report.main(['--results', str(tmp_path / 'a'), str(tmp_path / 'b')])
    named, _, line = capsys.readouterr().out.splitlines()
    assert named.startswith('cannot be read, left out') and line.split() == [
        'good', 'MLP', '50.00', '50.00', '+0.00',
    ]  # fmt: skip


# Keeping runs


def test_a_run_is_kept_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    run, out = write_run(tmp_path / 'run'), tmp_path / 'kept'
    calls = []

    def second_fails(path, content):
        calls.append(path)
        if len(calls) == 2:
            raise UserError('the disk is full')
        path.write_bytes(content)

    with monkeypatch.context() as patch:
        patch.setattr(report.kept, 'write_atomic', second_fails)
        with pytest.raises(UserError, match='full'):
            keep_run(run, out)
    assert len(calls) == 2 and not list(out.iterdir())
    assert keep_run(run, out) == out / 'run' and collect(out)[0][0].mean == 50
    before = {path.name: path.read_bytes() for path in (out / 'run').iterdir()}
    assert keep_run(run, out) == keep_run(out / 'run', out) == out / 'run'  # it is there already
    other = write_run(tmp_path / 'other' / 'run', seed=5)
    with pytest.raises(UserError, match='is there already'):
        keep_run(other, out)
    assert before == {path.name: path.read_bytes() for path in (out / 'run').iterdir()}


@pytest.mark.parametrize('target', ['file', 'folder', 'link'])
def test_what_stands_at_the_target_is_left_as_it_is(target, tmp_path):
    run, out = write_run(tmp_path / 'run'), tmp_path / 'kept'
    out.mkdir()
    if target == 'folder':
        (out / 'run').mkdir()
    elif target == 'file':
        (out / 'run').write_text('x')
    else:
        (out / 'run').symlink_to(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='is there already'):
        keep_run(run, out)
    assert [path.name for path in out.iterdir()] == ['run']


def test_of_several_runs_none_is_kept_if_one_cannot_be(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(main_report, 'DOCS', tmp_path)
    runs = [str(write_run(tmp_path / name)) for name in ('good', 'bad')]
    (tmp_path / 'bad' / RESULT).unlink()
    line = ['--keep', *runs]
    fails(lambda: main_report.main(line), capsys, 'holds no finished run to keep')
    fails(lambda: main_report.main(['--keep', str(tmp_path / 'x')]), capsys, 'no finished run')
    assert not (tmp_path / 'runs').exists()
    main_report.main(['--keep', runs[0]])
    page = (tmp_path / 'runs' / 'README.md').read_text()
    assert '50.00 ± 25.00' in page
    # A kept run that is damaged does not lose its line of the table.
    (tmp_path / 'runs' / 'good' / 'args.json').write_text('')
    save(tmp_path / 'bad' / RESULT)
    fails(lambda: main_report.main(['--keep', runs[1]]), capsys, 'one of the kept runs')
    assert (tmp_path / 'runs' / 'README.md').read_text() == page


# Names in tables


@pytest.mark.parametrize('start', ['=', '+', '-', '@', '\t', '\r', "'", "'="])
def test_texts_are_no_formulas_and_come_back(start, tmp_path):
    text = f'{start}cmd("x,y")\nz'
    (line,) = csv.reader(
        csv_of([[text, 'plain', -1.5, '-0.25', '1e-05']]).decode().splitlines(True)
    )
    assert line[0] == f"'{text}" and line[1:] == ['plain', '-1.5', '-0.25', '1e-05']
    assert unquoted(line[0]) == text
    rows = [row_of(run=text, label=text, other=text, dataset=text, network=text)]
    write_summary(tmp_path / 'a.csv', rows)
    assert read_summary(tmp_path / 'a.csv') == rows
    path = save(tmp_path / 'a.pt', accs_all_exps={text: [0.5]}, args={'method': text})
    NetworksTable([path]).write_csv(tmp_path / 'b.csv')
    _, cells = csv.reader((tmp_path / 'b.csv').open(newline=''))
    assert cells[0].startswith(f"'{start}") and cells[1] == f"'{text}"


NASTY = 'a|b<img src=x>`c`\n\x1b[0m[d](e)\\|&lt;'


def test_names_cannot_break_markdown():
    (_, _, line) = lines_of(('a', 'b', 'c'), [(NASTY, code(NASTY), 'plain **bold**')])
    assert line.count('|') == 4 and '\n' not in line and '\x1b' not in line and '<img' not in line
    assert '`' not in line and '](' not in line and line.endswith('| plain **bold** |')
    assert code('a <b>') == '`a <b>`' and escaped(escaped('<')) == escaped('<') == '&#60;'
    row = row_of(
        label=NASTY, other=NASTY, network=NASTY, command=NASTY, device=NASTY, dataset=NASTY
    )
    of_page = [line for line in results_page([row], []).splitlines() if ';img' in line]
    plain_row = [x for x in results_page([row_of()], []).splitlines() if '28.00 ± 0.50' in x]
    assert [line.count('|') for line in of_page] == [plain_row[0].count('|')]


# Figures


def test_labels_are_no_mathematics_and_stay_in_legends(tmp_path):
    figure, axis = plt.subplots()
    for text in ('$x^2$', r'\frac{', '$', '_hidden', '', 'a\x1bb\udcff', r'\$\alpha$'):
        axis.plot([0, 1], [0, 1], label=plain(text))
        axis.set_title(plain(text))
        figure.savefig(tmp_path / 'a.png')
        shown, mathematics = axis.title._preprocess_math(axis.title.get_text())
        assert not mathematics and (shown.strip() == text or '\x1b' in text)
    assert len(axis.get_legend_handles_labels()[1]) == 7
    plt.close(figure)


def run_of_sets(path, method='$\\frac$'):
    return save(path, args=FLAGS | {'method': method})


def test_figures_of_nasty_names_are_drawn(tmp_path, capsys):
    run = write_run(tmp_path / 'run', method='_$\\frac$')
    accuracies = {'$\\frac$': [0.5], '_b': [0.25]}
    path = save(tmp_path / 'a.pt', args=FLAGS | {'method': '$\\frac$'}, accs_all_exps=accuracies)
    for name, draw in (
        ('loss', lambda out: curves.main(['loss', str(run), *out])),
        ('norms', lambda out: curves.main(['norms', str(run), *out])),
        ('accuracy', lambda out: curves.main(['accuracy', str(run), *out])),
        ('grid', lambda out: grid.main([str(path), *out])),
        ('heatmap', lambda out: heatmap.main([str(path), *out])),
    ):
        out = tmp_path / 'new folder' / f'{name}.png'
        draw(['--out', str(out)])
        assert plt.imread(out)[..., :3].std() > 0.01, name


SETS = {
    'foreign': ({'args': None, 'accs_all_exps': None}, {'heatmap'}),
    'labels (N, 1)': ({'data': [[torch.zeros(2, 1, 8, 8), torch.zeros(2, 1)]]}, set()),
    'args a list': ({'args': [1]}, ...),
    'args ipc': ({'args': {'ipc': 'x'}}, set()),
    'own args ipc': ({'args': {'ipc': 'x', 'data_hash': 'abc'}}, ...),
    'args reduce': ({'args': {'reduce': torch.zeros(2)}}, set()),
    'args synset None': ({'args': {'method': None, 'synset': None}}, set()),
    'args dsa alone': ({'args': {'protocol': 'dsa', 'method': 'X'}}, set()),
    'args strategy None': ({'args': {'dsa_strategy': None, 'ipc': None}}, set()),
    'four channels': (
        {'data': [[torch.zeros(2, 4, 8, 8), torch.arange(2)]], 'mean': None, 'std': None},
        {'grid'},
    ),
    'two statistics': ({'mean': [0.1, 0.2], 'std': [0.1, 0.2]}, ...),
    'gradients': (
        {'data': [[torch.zeros(2, 1, 8, 8, requires_grad=True), torch.arange(2)]]}, set()
    ),
    'bfloat16': (
        {'data': [[torch.zeros(2, 1, 8, 8, dtype=torch.bfloat16), torch.arange(2.0)]]}, set()
    ),
    'beyond float32': (
        {'data': [[torch.full((2, 1, 8, 8), 1e300, dtype=torch.double), torch.arange(2)]]}, ...
    ),
}  # fmt: skip


@pytest.mark.parametrize('figure', ['grid', 'heatmap'])
@pytest.mark.parametrize('case', SETS)
def test_a_foreign_set_is_drawn_or_one_line(case, figure, tmp_path, capsys):
    changes, refused = SETS[case]
    path, out = save(tmp_path / 'set.pt', **changes), tmp_path / 'a.png'
    draw = {'grid': grid, 'heatmap': heatmap}[figure].main
    if refused is ... or figure in refused:
        fails(lambda: draw([str(path), '--out', str(out)]), capsys)
        assert not out.exists()
    else:
        draw([str(path), '--out', str(out)])
        assert out.exists()


OUTS = {'folder': 'is a folder', 'file/a.png': 'may be written', 'a.xyz': 'no format',
        '': 'is empty',
        'pipe': 'a pipe'}  # fmt: skip


@pytest.mark.parametrize('out', OUTS)
@pytest.mark.parametrize('figure', ['curves', 'grid', 'heatmap', 'clusters', 'embedding', 'diagram',
                                    'gradient_error', 'study'])  # fmt: skip
def test_a_picture_that_cannot_be_written_is_refused_before_any_work(
    figure, out, tmp_path, monkeypatch, capsys
):
    module = {'clusters': clusters_figure, 'diagram': diagram_figure, 'curves': curves,
              'gradient_error': gradient_error_figure, 'grid': grid, 'heatmap': heatmap,
              'embedding': embedding, 'study': study}[figure]  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'folder').mkdir()
    (tmp_path / 'file').write_text('x')
    os.mkfifo(tmp_path / 'pipe')
    words = {'curves': ['loss', 'run'], 'study': ['--results', 'folder']}.get(figure, ['set.pt'])
    if figure in ('clusters', 'gradient_error'):
        words = ['--dataset', 'Digits']
    if figure == 'study':  # it writes into a folder
        fails(lambda: module.main([*words, '--out', 'file']), capsys, 'may be written')
        return

    def work(*_, **__):
        raise AssertionError('this is work')

    for name in ('load_result', 'NetworksTable', 'group', 'load_data'):
        monkeypatch.setattr(module, name, work, raising=False)
    fails(lambda: module.main([*words, '--out', out]), capsys, OUTS[out])


def test_a_run_that_is_a_file_has_no_curves(tmp_path, capsys):
    (tmp_path / 'run').write_text('x')
    for run in ('run', 'nothing'):
        line = ['loss', str(tmp_path / run), '--out', str(tmp_path / 'a.png')]
        fails(lambda line=line: curves.main(line), capsys, 'is no run')


def test_curves_need_what_they_show_in_every_iteration(tmp_path, capsys):
    run, out = write_run(tmp_path / 'run'), ['--out', str(tmp_path / 'a.png')]
    for figure, key in (('loss', 'loss'), ('norms', 'grad_norm_syn')):
        logged(STEP, {k: v for k, v in STEP.items() if k != key} | {'iteration': 2})(run)
        line = [figure, str(run), *out]
        fails(lambda line=line: curves.main(line), capsys, f'logged no {key}')
    fails(lambda: curves.main(['accuracy', str(run), *out]), capsys, 'no evaluation')


def test_sets_meet_at_the_iterations_that_all_have(tmp_path):
    gap = [{'iteration': step, 'loss': float(step)} for step in (1, 3)]
    whole = [{'iteration': step, 'loss': float(step)} for step in (1, 2, 3, 4)]
    figure, axis = plt.subplots()
    curves.draw_lines(axis, {'DC': [gap, whole]}, lambda record: record['loss'], 1)
    assert axis.get_lines()[0].get_xdata().tolist() == [1, 3]
    assert axis.get_lines()[0].get_ydata().tolist() == [1, 3]
    with pytest.raises(UserError, match='no iteration in common'):
        curves.draw_lines(axis, {'DC': [gap[:1], whole[1:]]}, lambda record: record['loss'], 1)
    plt.close(figure)


def test_black_is_drawn_black_whatever_a_file_says(tmp_path, capsys):
    mean, std = 0.3053, 0.3758
    images = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, 8, 8)
    data = [[(images - mean) / std, torch.arange(2)]]
    for args, words, line in (
        ({'dataset': 'Digits'}, None, 0),
        ({'dataset': '/data/Digits.npz'}, None, 1),  # own data, whatever its name
        ({}, 'Digits', 0),
        ({'dataset': 'foreign'}, 'Digits', 0),
        ({'dataset': 'foreign'}, None, 1),
        ({}, 'CIFAR10', 1),  # of three channels
        ({'dataset': 'CIFAR10'}, 'Digits', 0),  # what is typed wins
    ):
        path = save(tmp_path / 'a.pt', data=data, args=args, mean=None, std=None)
        pixels = grid.viewable(path, load_result(path), words)
        assert pixels[0].abs().max() < 1e-5 and (pixels[1] - 1).abs().max() < 1e-5
        assert capsys.readouterr().out.count('\n') == line
    flat = save(tmp_path / 'flat.pt', data=[[torch.ones(1, 1, 8, 8), torch.zeros(1)]], args=None,
                mean=None, std=None)  # fmt: skip
    assert grid.viewable(flat, load_result(flat), None).isfinite().all()


def test_rows_of_a_grid_have_the_names_of_their_classes(tmp_path):
    images, labels = torch.zeros(3, 3, 8, 8), torch.tensor([8, 3, 8])
    path = save(tmp_path / 'a.pt', data=[[images, labels]], args={'dataset': 'CIFAR10'},
                mean=None, std=None)  # fmt: skip
    _, title, names = grid.panel(path, load_result(path), 10, None)
    assert names == ['cat', 'ship'] and '1–2 per class' in title


def test_a_grid_has_room_for_long_names(tmp_path, recwarn):
    content = {
        'data': [[torch.rand(2, 3, 8, 8), torch.arange(2)]],
        'class_names': ['golden ' * 9, 'b'],
    }
    path = tmp_path / 'a.pt'
    torch.save(content | {'mean': [0.5] * 3, 'std': [1.0] * 3}, path)
    shown = grid.panel(path, load_result(path), 10, None)
    figure = grid.draw_grid([shown])
    figure.draw_without_rendering()
    assert shown[2] == ['golden golden golden golden g…', 'b'] and not recwarn.list
    assert figure.axes[0].get_position().width * figure.get_figwidth() > 0.5  # inches


def test_the_points_of_features_need_three_finite_images():
    for features in (torch.ones(2, 5), torch.full((9, 5), float('inf'))):
        with pytest.raises(UserError):
            clusters_figure.neighbours(features, 0)
    points = clusters_figure.neighbours(torch.randn(3, 5), 0)
    assert points.shape == (3, 2) and np.isfinite(points).all()


@pytest.mark.parametrize(
    ('changes', 'words'),
    [({}, 'has classes 0 … 9'), ({'data': [[torch.zeros(1, 1, 8, 8), torch.zeros(1)]]}, 'no image'),
     ({'data': [[torch.zeros(1, 3, 8, 8), torch.ones(1)]], 'mean': None, 'std': None}, 'holds')],
)  # fmt: skip
def test_sets_and_classes_that_do_not_fit_are_one_line(changes, words, tmp_path, capsys):
    path, out = str(save(tmp_path / 'a.pt', **changes)), ['--out', str(tmp_path / 'a.png')]
    flags = ['--dataset', 'Digits', '--class_idx', '1' if changes else '10', *out]
    fails(lambda: embedding.main([path, *flags]), capsys, words)
    fails(lambda: diagram_figure.main([path, *flags]), capsys, '1')
    fails(lambda: clusters_figure.main([*flags, '--cluster_path', str(tmp_path)]), capsys)


def test_a_signal_ends_all_figures_of_the_study(tmp_path, monkeypatch):
    write_run(tmp_path / 'run')

    def interrupted(words):
        raise SystemExit(130)

    monkeypatch.setattr(grid, 'main', interrupted)
    words = ['--results', str(tmp_path), '--dataset', 'Digits', '--model', 'MLP']
    with pytest.raises(SystemExit) as exit_:
        study.main([*words, '--Iteration', '2', '--figures', 'grid', 'grid'])
    assert exit_.value.code == 130
