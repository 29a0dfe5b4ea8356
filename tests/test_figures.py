"""Figures: curves show what was logged, labels keep their colours, and what cannot be drawn is one
line.
"""

import json

import numpy as np
import pytest
import torch

import main as main_script
from dataset.pictures import tile
from figures import curves, embedding, heatmap, study
from figures.curves import draw_lines, group, iterations, read_records, smooth
from figures.style import FIXED, OKABE_ITO, colors_of, plt
from networks import make_network
from report.cross_architecture import NetworksTable
from utils import UserError


def write_run(folder, method, seed, losses, **args):
    """Write args.json and log.jsonl as a run leaves them, one evaluation among the iterations."""
    folder.mkdir(parents=True)
    (folder / 'args.json').write_text(
        json.dumps(
            {'method': method, 'dataset': 'Digits', 'ipc': 1, 'draw': 'uniform', 'seed': seed}
            | args
        )
    )
    norms = {'features.0.weight': 1.0 + seed, 'classifier.weight': 2.0}
    records = [
        {
            'exp': 0,
            'iteration': it + 1,
            'loss': loss,
            'grad_norm_real': norms,
            'grad_norm_syn': norms,
        }
        for it, loss in enumerate(losses)
    ]
    records.insert(1, {'exp': 0, 'iteration': 1, 'accs': {'ConvNet': [0.5]}})
    (folder / 'log.jsonl').write_text(''.join(json.dumps(record) + '\n' for record in records))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path / 'dc0', 'DC', 0, [4.0, 2.0, 1.0]),
        write_run(tmp_path / 'dc1', 'DC', 1, [6.0, 4.0]),
        write_run(tmp_path / 'bs', 'DC', 0, [8.0, 8.0, 8.0], draw='stratified', num_cluster=10),
    ]


def test_tiles_stand_in_rows_white_where_one_is_short():
    rows = [torch.zeros(3, 1, 8, 8), torch.full((1, 1, 8, 8), 0.5)]
    picture = tile(rows)
    assert picture.shape == (20, 30, 3)  # a pixel of white around each
    assert (picture[1:9, 11:19] == 0).all() and (picture[11:19, 1:9] == 0.5).all()
    assert (picture[10:, 10:] == 1).all() and (picture[:, 9:11] == 1).all()
    color = torch.rand(1, 3, 8, 8)
    assert np.allclose(tile([color])[1:9, 1:9], color[0].permute(1, 2, 0))


def test_smooth_is_a_trailing_mean():
    values = np.random.default_rng(0).normal(size=20)
    expected = [values[max(0, i - 3) : i + 1].mean() for i in range(20)]
    assert np.allclose(smooth(values, 4), expected) and np.allclose(smooth(values, 1), values)


def test_runs_of_a_label_are_one_line_in_a_band(runs):
    groups = {
        label: [iterations(part) for part in sets] for label, sets in group(runs, None).items()
    }
    assert list(groups) == ['DC', 'BS stratified']
    _, axis = plt.subplots()
    draw_lines(axis, groups, lambda record: record['loss'], 1)
    dc, bs = axis.get_lines()
    assert dc.get_ydata().tolist() == [5.0, 3.0] and dc.get_xdata().tolist() == [
        1,
        2,
    ]  # as long as both
    assert bs.get_ydata().tolist() == [8.0, 8.0, 8.0]
    (band,) = axis.collections
    heights = band.get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (2.0, 6.0)
    assert dc.get_color() == FIXED['DC'] and bs.get_color() == FIXED['BS stratified']


def test_runs_can_be_told_apart_by_a_flag(runs):
    assert list(group(runs[::-1], 'num_cluster')) == ['DC', 'k 10']  # DC has no clusters
    with pytest.raises(UserError, match='--by layer_idx'):
        group(runs, 'layer_idx')


def test_experiments_of_one_name_are_told_apart(tmp_path):
    runs = [
        write_run(tmp_path / str(i), 'DC', i, [1.0], Iteration=it, lr_img=lr)
        for i, (it, lr) in enumerate([(1000, 0.1), (1000, 0.1), (200, 0.1), (1000, 0.2)])
    ]
    groups = group(runs, None)
    assert {label: len(sets) for label, sets in groups.items()} == {
        'DC, Iteration 1000, lr_img 0.1': 2,  # two seeds
        'DC, Iteration 200, lr_img 0.1': 1,
        'DC, Iteration 1000, lr_img 0.2': 1,
    }
    assert list(group(runs[:2], None)) == ['DC']


def test_numbers_are_shades_in_order():
    colors = colors_of(['DC', 'k 5', 'k 10', 'k 20'])
    light = [plt.matplotlib.colors.to_rgb(colors[label]) for label in ('k 5', 'k 10', 'k 20')]
    assert [sum(color) for color in light] == sorted((sum(color) for color in light), reverse=True)
    assert colors['DC'] == FIXED['DC'] and len(set(colors.values())) == 4


def test_other_labels_get_the_free_colours():
    colors = colors_of(['mine', 'BS', 'DC', 'yours'])
    assert (
        len(set(colors.values())) == 4
        and colors['BS'] == FIXED['BS']
        and set(colors.values()) <= set(OKABE_ITO)
    )


@pytest.mark.parametrize('figure', curves.FIGURES)
def test_a_figure_of_runs(runs, figure, tmp_path, capsys):
    out = tmp_path / 'new folder' / f'{figure}.png'
    curves.main([figure, *map(str, runs), '--out', str(out)])
    assert plt.imread(out)[..., :3].std() > 0.02 and str(out) in capsys.readouterr().out


def test_a_cut_last_line_is_left_out_and_a_broken_log_is_named(runs, tmp_path):
    log = runs[0] / 'log.jsonl'
    log.write_text(log.read_text()[:-9])
    assert [record['loss'] for record in iterations(read_records(runs[0])[1][0])] == [4.0, 2.0]
    log.write_text('{"exp": \n' + log.read_text())
    for folder in (runs[0], tmp_path / 'nothing', tmp_path):
        with pytest.raises(UserError, match=f'{folder.name} is no run'):
            read_records(folder)
    log.write_text('{"exp": 0, "iteration": 0, "accs": {}}\n')
    with pytest.raises(UserError, match='holds no iteration'):
        read_records(runs[0])


@pytest.mark.parametrize(
    ('line', 'message'),
    [('nothing x --out a.png', 'choose from'), ('loss {run} --out {run}/a.nope', 'cannot be')],
)
def test_mistakes_are_one_line(runs, line, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        curves.main(line.format(run=runs[0]).split())
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and error.count('\n') == 1


def test_norms_need_a_convolution(runs, tmp_path):
    log = runs[0] / 'log.jsonl'
    log.write_text(log.read_text().replace('"features.0.weight": 1.0, ', ''))
    with pytest.raises(SystemExit):
        curves.main(['norms', str(runs[0]), '--out', str(tmp_path / 'a.png')])
    assert not (tmp_path / 'a.png').exists()


def test_runs_that_logged_no_norms_are_named(runs, tmp_path, capsys):
    log = runs[2] / 'log.jsonl'
    log.write_text(log.read_text().replace('grad_norm', 'other'))
    with pytest.raises(SystemExit) as exit_:
        curves.main(['norms', *map(str, runs), '--out', str(tmp_path / 'a.png')])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and 'BS stratified logged no grad_norm_real' in error
    log.write_text('{"exp": 0, "iteration": 0, "accs": {"MLP": [0.5]}}\n')  # a coreset
    with pytest.raises(SystemExit):
        curves.main(['loss', *map(str, runs), '--out', str(tmp_path / 'a.png')])
    assert 'BS stratified logged no loss' in capsys.readouterr().err


def test_curves_of_a_real_method(make_method, tmp_path, capsys):
    method, folder = make_method(ipc=1, outer_loop=1), tmp_path / 'run'
    folder.mkdir()
    (folder / 'args.json').write_text('{"method": "DC", "dataset": "Digits", "ipc": 1}')
    records = [{'exp': 0, 'iteration': it} | method.step() for it in range(3)]
    (folder / 'log.jsonl').write_text('\n'.join(map(json.dumps, records)) + '\n')
    curves.main(['norms', str(folder), '--out', str(tmp_path / 'norms.svg')])
    assert (tmp_path / 'norms.svg').stat().st_size > 10_000 and torch.isfinite(
        method.image_syn
    ).all()


def test_accuracy_stands_over_the_minutes_paid(tmp_path, monkeypatch):
    run = write_run(tmp_path / 'run', 'DC', 0, [3.0, 2.0, 1.0])
    lines = [json.loads(line) for line in (run / 'log.jsonl').read_text().splitlines()]
    lines = [line | ({'seconds': 60.0} if 'loss' in line else {}) for line in lines]
    lines.append({'exp': 0, 'iteration': 3, 'accs': {'ConvNet': [0.7, 0.9]}})
    (run / 'log.jsonl').write_text('\n'.join(map(json.dumps, lines)) + '\n')
    drawn = []
    monkeypatch.setattr(curves, 'save_figure', lambda figure, out: drawn.append(figure))
    curves.main(['accuracy', str(run), '--out', 'unused.png'])
    (points,) = drawn[0].axes[0].containers
    assert points.lines[0].get_xdata().tolist() == [1.0, 3.0]
    assert np.allclose(points.lines[0].get_ydata(), [50, 80])
    assert np.allclose(
        points.lines[2][0].get_segments()[1][:, 1], [70, 90]
    )  # ± the population std, 10


def result(path, method, accs, size=8, **args):
    """Write a result file of one set of 20 images."""
    data = [[torch.randn(20, 1, size, size), torch.arange(10).repeat_interleave(2)]]
    args = {'method': method, 'dataset': 'Digits', 'ipc': 2} | args
    torch.save({'data': data, 'accs_all_exps': accs, 'args': args}, path)
    return path


def test_heat_map_joins_the_files_of_a_set(tmp_path):
    files = [
        result(
            tmp_path / 'a.pt',
            None,
            {'MLP': [0.5, 0.7], 'LeNet': [0.4]},
            made_by={'method': 'DC'},
        ),
        result(tmp_path / 'b.pt', None, {'VGG11': [0.3]}, made_by={'method': 'DC'}),
        result(tmp_path / 'c.pt', 'DC', {'MLP': [0.2]}, draw='cluster'),
    ]
    table = NetworksTable(files)
    assert table.names == ['DC, 2 per class, dc', 'BS, 2 per class, dc']
    assert table.networks == ['MLP', 'LeNet', 'VGG11']
    assert np.allclose(table.means, [[60, 40, 30], [20, np.nan, np.nan]], equal_nan=True)
    heatmap.main([*map(str, files), '--out', str(tmp_path / 'map.png')])
    assert plt.imread(tmp_path / 'map.png')[..., :3].std() > 0.1
    heatmap.main([*map(str, files), '--out', str(tmp_path / 'map.pdf')])
    assert (tmp_path / 'map.pdf').read_bytes().startswith(b'%PDF')


def test_sets_stand_among_the_real_images(digits, tmp_path, capsys):
    net = make_network('ResNet18BN', 1, 10, (8, 8))
    torch.save({'net': net.state_dict(), 'accuracy': 0.1}, tmp_path / 'resnet.pt')
    draws = {'DC': 'uniform', 'BS': 'cluster'}
    files = [str(result(tmp_path / f'{name}.pt', 'DC', {}, draw=draws[name])) for name in draws]
    flags = ['--dataset', 'Digits', '--extractor', str(tmp_path / 'resnet.pt'), '--num_real', '50']
    out = ['--out', str(tmp_path / 'tsne.png')]
    embedding.main([*files, *flags, '--class_idx', '3', *out])
    assert plt.imread(tmp_path / 'tsne.png')[..., :3].std() > 0.05
    sets = embedding.images_of([tmp_path / 'DC.pt', tmp_path / 'BS.pt'], digits, 3)
    assert {label: tuple(images.shape) for label, images in sets.items()} == dict.fromkeys(
        ('DC', 'BS'), (2, 1, 8, 8)
    )
    # Another project's set: bytes, and labels that are shares of the classes.
    pixels = torch.randint(256, (10, 1, 8, 8), dtype=torch.uint8)
    torch.save({'data': [[pixels, torch.eye(10)]]}, tmp_path / 'theirs.pt')
    (theirs,) = embedding.images_of([tmp_path / 'theirs.pt'], digits, 3).values()
    assert torch.allclose(digits.viewable(theirs), pixels[3:4] / 255, atol=1e-6)
    for line, message in (
        ([*files, *flags, '--class_idx', '10'], 'has classes 0 … 9'),
        (
            [str(result(tmp_path / 'large.pt', 'DC', {}, size=16)), *flags],
            'holds images (1, 16, 16)',
        ),
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            embedding.main([*line, *out])
        assert message in capsys.readouterr().err


def test_the_figures_of_the_study_come_from_its_cells(tmp_path, capsys):
    flags = '--dataset Digits --model MLP --num_exp 1 --num_eval 1 --Iteration 2'
    for more in (
        '',
        '--seed 1',
        '--lr_img 0.5',
        '--reduce avgpool1',
    ):  # two sets of DC, and what is no cell
        main_script.main([*flags.split(), *more.split(), '--save_path', str(tmp_path)])
    (tmp_path / 'begun').mkdir()
    words = f'--results {tmp_path} --dataset Digits --model MLP --Iteration 2'.split()
    words += ['--cluster_path', str(tmp_path)]
    capsys.readouterr()
    study.main([*words, '--figures', 'grid', 'norms_by_k', 'networks', 'embedding', 'diagram'])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('python -m figures.grid ') and lines[0].count('res_DC') == 1
    norms = next(line for line in lines if '--by num_cluster' in line)
    assert norms.count('DC_Digits') == 2 and 'seed1' in norms
    assert 'lr_img=' not in norms and 'reduce' not in norms
    assert 'networks: skipped' in '|'.join(lines) and 'diagram: skipped' in '|'.join(lines)
    assert (
        'embedding: skipped' in lines and lines[-1] == '1 of 5 figures drawn'
    )  # no extractor here
    assert {path.name for path in (tmp_path / 'figures').glob('*.png')} == {
        'grid_ipc1.png',
    }  # fmt: skip


@pytest.mark.parametrize(
    'line', ['--figures nothing', '--results {tmp_path}/missing', '--num_cluster 0']
)
def test_mistakes_of_the_study_are_one_line(tmp_path, line, capsys):
    with pytest.raises(SystemExit) as exit_:
        study.main(line.format(tmp_path=tmp_path).split())
    assert exit_.value.code == 2 and capsys.readouterr().err.count('\n') == 1
