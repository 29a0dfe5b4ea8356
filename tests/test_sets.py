"""Any set on any data: scale, classes, protocol and provenance are recognised, or named."""

import csv
import os
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import error_of
from PIL import Image

import main as main_script
import main_eval
import main_export
from evaluation.sets import assumed_protocol, read_sets, scaled
from evaluation.sources import grouped, parts_of_others, read_file
from experiment.layouts import content_hash, hard, scale_of
from experiment.result import load_result
from figures import grid
from methods.parameterisation import Tiles
from utils import UserError

EVALUATE = '--dataset Digits --model MLP --num_eval 2 --epoch_eval_train 20'


@pytest.fixture
def real(digits):
    """Return the first image of every class, normalised, and its labels."""
    index = torch.stack([members[0] for members in digits.indices_class])
    return digits.images(index), digits.labels_train[index]


def save(path, content):
    torch.save(content, path)
    return path


def evaluate(paths, out, capsys, extra=''):
    """Evaluate files; return the accuracies of the last one, and what was printed."""
    files = ' '.join(map(str, paths))
    main_eval.main(f'{EVALUATE} --synset {files} --save_path {out} {extra}'.split())
    last = max(out.glob('*/res_*.pt'), key=lambda path: path.stat().st_mtime_ns)
    return load_result(last)['accs_all_exps']['MLP'], capsys.readouterr().out


def test_every_scale_and_layout_gives_the_same_accuracy(real, digits, tmp_path, capsys):
    images, labels = real
    pixels = (images * digits.std + digits.mean) * 255
    files = {
        'normalised': [images, labels],
        'pixels 0 … 1': [pixels / 255, labels],
        'pixels 0 … 255': {'images': pixels, 'labels': labels},
        'bytes': {'images': pixels.round().byte().numpy(), 'labels': labels.numpy()},
        'other statistics': {'data': [[pixels / 255 - 0.5, labels]], 'mean': [0.5], 'std': [1]},
        'one-hot': [images, torch.nn.functional.one_hot(labels).float()],
        'logits': [images, 50 * torch.nn.functional.one_hot(labels).float()],
    }
    expected, _ = evaluate([save(tmp_path / 'a.pt', files['normalised'])], tmp_path / 'o', capsys)
    for name, content in files.items():
        path = save(tmp_path / f'{name.replace(" ", "")}.pt', content)
        accs, output = evaluate([path], tmp_path / name.replace(' ', ''), capsys)
        assert accs == pytest.approx(expected, abs=0.02), name
        assert ('logits' in output) == (name == 'logits')
        recognised = next(line for line in output.splitlines() if line.startswith(str(path)))
        assert name in recognised or name not in ('normalised', 'pixels 0 … 1', 'pixels 0 … 255')


def test_what_was_recognised_is_one_table(real, tmp_path, capsys):
    images, labels = real
    paths = [save(tmp_path / 'res_DSA_Digits.pt', [images, labels])]
    paths.append(save(tmp_path / 'few.pt', [images[:7], labels[:7]]))
    method = {'data': [[images, labels]], 'args': {'method': 'DSA'}}
    paths.append(save(tmp_path / 'method.pt', method))
    _, output = evaluate(paths, tmp_path / 'out', capsys)
    assert 'dsa (as published for DSA)' in output and 'dc (the file names none)' in output
    assert 'few.pt: only 7 of the 10 classes have an image' in output
    assert output.count('dsa (as published for DSA)') == 2 and 'that of its method' not in output
    _, output = evaluate(paths[:1], tmp_path / 'out', capsys, '--protocol dc')
    assert 'dc (as it was made)' not in output and 'dc (--protocol)' in output


def test_packed_tiles_are_decoded(real, digits, tmp_path, capsys):
    images, labels = real
    stored = torch.cat([images] * 4)[torch.arange(40).view(4, 10).T.reshape(-1)]
    packed = Tiles(2, digits.shape).encode(stored)
    path = save(tmp_path / 'packed.pt', [packed, labels])
    evaluate([path], tmp_path / 'out', capsys, '--factor 2')
    result = load_result(next((tmp_path / 'out').glob('*/res_*.pt')))
    assert len(result['data'][0][0]) == 40 and torch.equal(result['stored'][0][0], packed)
    assert torch.allclose(result['data'][0][0], Tiles(2, digits.shape).decode(packed))
    assert result['args']['ipc'] == 1 and result['args']['factor'] == 2


def test_a_set_of_other_images_of_the_same_name_is_refused(real, digits, tmp_path):
    images, labels = real
    made = {'dataset': 'Digits', 'data_hash': 'another'}
    path = save(tmp_path / 'a.pt', {'data': [[images, labels]], 'args': made})
    assert 'another copy of Digits' in read_sets(path, digits).notes[0]  # a public data set
    digits.name, name = 'own', digits.name
    try:
        made['dataset'] = 'elsewhere/own.npz'
        save(path, {'data': [[images, labels]], 'args': made})
        with pytest.raises(UserError, match='other images of the name own'):
            read_sets(path, digits)
    finally:
        digits.name = name


def test_values_that_no_pixel_has_are_named(real, digits, tmp_path):
    images, labels = real
    path = save(tmp_path / 'zca.pt', [images * 40, labels])
    assert 'no normalised pixels' in read_sets(path, digits).notes[0]


@pytest.mark.parametrize(
    ('name', 'made_by', 'protocol'),
    [('res_DSA_CIFAR10_ConvNet_1ipc', {}, 'dsa'), ('res_DC_CIFAR10_ConvNet_1ipc', {}, 'dc'),
     ('images_best', {}, 'dc'), ('x', {'method': 'DM'}, 'dsa')],
)  # fmt: skip
def test_the_protocol_of_foreign_sets(name, made_by, protocol, tmp_path):
    assert assumed_protocol(tmp_path / f'{name}.pt', made_by)[0] == protocol


def names(synsets, typed):
    return {words: list(files) for words, files in grouped(synsets, typed).items()}


def test_what_a_foreign_set_is_of_is_said_at_once(real, tmp_path, capsys):
    save(path := tmp_path / 'x.pt', {'data': [real], 'args': {'dataset': 'MNIST', 'model': 'MLP'}})
    file = str(path)
    assert names([file], set()) == {('--dataset', 'MNIST'): [file]}
    assert names([file], {'dataset'}) == {(): [file]}
    capsys.readouterr()
    save(path, {'data': [real], 'args': {'dataset': 'no name of a data set'}})
    assert names([file], {'dataset'}) == {(): [file]} and not capsys.readouterr().out
    with pytest.raises(UserError, match='what it is of, and has images of 1 channel: type --dat'):
        grouped([file], set())
    save(path, [torch.randn(10, 3, 32, 32), torch.arange(10)])
    assert names(['random', file], set()) == {(): ['random', file]}
    line = f'{path} does not say what it is of: --dataset CIFAR10 is assumed\n'
    assert capsys.readouterr().out == line
    assert names(['random'], set()) == {(): ['random']} and not capsys.readouterr().out


def test_sets_of_several_data_sets_are_evaluated_in_one_call(real, tmp_path, monkeypatch, capsys):
    """Foreign sets of one name in two folders keep a row each, beside one of other data."""
    monkeypatch.setattr('evaluation.sets.load_result', None)  # no file is read again
    files, (images, labels) = [], real
    for number, folder in enumerate('ab', 1):
        (tmp_path / folder).mkdir()
        content = {'data': [[number * images, labels]], 'args': {'dataset': 'Digits'}}
        files.append(str(save(tmp_path / folder / 'set.pt', content)))
    pixels = np.arange(8 * 36, dtype=np.uint16).reshape(8, 6, 6).astype(np.uint8)
    classes = np.arange(8) % 2
    line = '--model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 2 --save_path'
    for name in ('one', 'two'):
        own = tmp_path / f'{name}.npz'
        np.savez(own, x_train=pixels, y_train=classes, x_test=pixels, y_test=classes)
        make = f'--method random --dataset {own} --ipc 1 {line} {tmp_path}/r'
        main_script.main(make.split())
        files.append(str(next((tmp_path / 'r').glob(f'*_{name}_*/res_*.pt'))))
    shutil.copy(files[0], tmp_path / 'copy.pt')
    files.append(str(tmp_path / 'copy.pt'))
    table = tmp_path / 'table.csv'
    main_eval.main(['--synset', *files, '--csv', str(table), *f'{line} {tmp_path}/e'.split()])
    rows = list(csv.DictReader(table.open()))
    sets = [row['set'].partition(',')[0] for row in rows]
    assert sets == ['a/set.pt', 'b/set.pt', 'random', 'random']
    assert [row['num_networks'] for row in rows] == ['1'] * 4
    assert [row['set'].partition('dataset ')[2] for row in rows[2:]] == ['one', 'two']
    assert 'copy.pt is a copy of' in capsys.readouterr().out
    nan = [save(tmp_path / f'nan{n}.pt', [images * np.nan, labels + 0 * n]) for n in (1, 2)]
    error = error_of(main_eval, ['--synset', files[2], *nan, files[3]], capsys)
    assert '2 faults' in error and 'nan1.pt' in error and 'nan2.pt' in error
    assert 'every file is an evaluation' in error_of(
        main_eval, ['--synset', next((tmp_path / 'e').glob('*set*/res_*.pt'))], capsys
    )


def test_a_typed_data_set_leaves_each_file_its_size(real, tmp_path, capsys):
    own = {'data_hash': 'x', 'dataset': 'Digits'}
    content = {'large': own | {'im_size': 16}, 'plain': own}
    large, plain = (str(tmp_path / f'{name}.pt') for name in content)
    for name, args in content.items():
        save(tmp_path / f'{name}.pt', {'data': [list(real)], 'args': args | {'n': name}})
    groups = names([large, plain], {'dataset'})
    assert groups == {('--im_size', '16'): [large], (): [plain]}


def test_a_file_that_is_called_full_is_a_file(real, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / 'full', list(real))
    main_eval.main(f'{EVALUATE} --synset ./full --num_exp 1'.split())
    (path,) = (tmp_path / 'results').glob('*/res_*.pt')
    assert torch.equal(load_result(path)['data'][0][0], real[0])


def test_scaled_is_the_inverse_of_viewable(digits):
    pixels = torch.rand(5, 1, 8, 8)
    images, how = scaled(pixels, {}, digits)
    assert torch.allclose(digits.viewable(images), pixels, atol=1e-6) and how == 'pixels 0 … 1'


def condensed(tmp_path, numbers='--num_exp 2 --num_eval 1'):
    line = '--dataset Digits --model MLP --ipc 2 --Iteration 2 --outer_loop 1 --inner_loop 1'
    line += f' {numbers} --epoch_eval_train 1 --init real'
    main_script.main([*line.split(), '--save_path', str(tmp_path / 'run')])
    return next((tmp_path / 'run').glob('*/res_*.pt'))


def test_an_exported_set_is_read_back(digits, tmp_path, capsys):
    path = condensed(tmp_path)
    images, labels = load_result(path)['data'][1]
    for out in ('pictures', 'set.npz', 'set.pt'):
        capsys.readouterr()
        main_export.main(f'--synset {path} --exp 1 --out {tmp_path / out}'.split())
        assert out in capsys.readouterr().out
        sets = read_sets(tmp_path / out, digits)
        again, classes = sets.pairs[0]
        assert torch.equal(classes, labels)
        clipped = digits.viewable(images)
        near = torch.allclose(digits.viewable(again), clipped, atol=0.51 / 255)
        assert near and (out != 'set.pt' or torch.equal(again, images))
    with np.load(tmp_path / 'set.npz') as archive:
        assert archive['x_train'].shape == (20, 8, 8, 1) and archive['x_train'].dtype == np.uint8
        assert archive['class_names'].tolist() == list(digits.class_names)
    result = load_result(path)
    assert result['class_names'] == list(digits.class_names) and 'data_hash' in result['args']


def test_what_evaluates_an_exported_set_is_said_whole(tmp_path, capsys):
    line = '--dataset Digits --model MLP --ipc 1 --Iteration 0 --im_size 16 --num_exp 1'
    line += f' --num_eval 1 --epoch_eval_train 1 --protocol dsa --save_path {tmp_path}/runs'
    main_script.main(line.split())
    path = next((tmp_path / 'runs').glob('*/res_*.pt'))
    capsys.readouterr()
    main_export.main(f'--synset {path} --out {tmp_path}/set.npz'.split())
    words = '--dataset Digits --im_size 16 --model MLP --protocol dsa'
    assert capsys.readouterr().out.splitlines()[-1] == f'evaluate it with main_eval.py {words}'


def test_clipping_is_told(tmp_path, capsys):
    images = torch.zeros(2, 1, 8, 8)
    images[0] = 3.0
    path = save(tmp_path / 'a.pt', {'data': [[images, torch.arange(2)]], 'mean': [0.5], 'std': [1]})
    main_export.main(f'--synset {path} --out {tmp_path}/b.NPZ'.split())
    assert load_result(tmp_path / 'b.NPZ')['data'][0][1].tolist() == [0, 1]
    # 3.5 x 255 is 637.5 steps above white.
    assert '50.0 % of the values are no pixels and were clipped, by 638' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('line', 'message'),
    [('--out x.npz', 'does not say how it was normalised; pass the --dataset'),
     ('--out x.npz --dataset CIFAR10', '1 channels'), ('--out full', 'folder with content'),
     ('--out x.npz --exp 3', 'has sets 0 … 0'), ('--out /dev/full', 'no folder|device'),
     ('--out x.zip', 'ends in .npz or .pt'), ('--out x.tar.gz', 'ends in .npz or .pt'),
     ('--out x.pth', 'ends in .npz or .pt')],
)  # fmt: skip
def test_exports_that_cannot_work(line, message, real, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'photo.png').write_text('')
    save(tmp_path / 'a.pt', list(real))
    with pytest.raises(SystemExit) as exit_:
        main_export.main(['--synset', 'a.pt', *line.split()])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count('\n') == 1
    assert any(words in error for words in message.split('|')), error


def test_a_set_that_two_runs_hold_is_evaluated_once(tmp_path, capsys):
    short, both, other = (
        condensed(tmp_path / name, f'{extra} --num_eval 1')
        for name, extra in (
            ('short', '--num_exp 1'), ('both', '--num_exp 2'), ('other', '--num_exp 1 --lr_img 1'),
        )
    )  # fmt: skip
    capsys.readouterr()
    files = read_all([short, both, other])
    assert parts_of_others(files) == {str(short): str(both)}
    assert parts_of_others(read_all([both, short])) == {str(short): str(both)}
    typed = read_all([short, both])
    typed[str(short)][0]['protocol'] = 'dsa'  # evaluated otherwise
    assert not parts_of_others(typed)
    (flags,) = grouped([str(short), str(both)], set()).values()
    assert list(flags) == [str(both)]
    assert f'{short}: its sets are in {both}, too' in capsys.readouterr().out


def read_all(paths):
    files = {str(path): read_file(str(path)) for path in paths}
    return {path: (file.result['args'], 1, file) for path, file in files.items()}


def test_our_own_sets_are_never_taken_for_pixels(digits):
    """Data of few bright images have normalised means that look like pixels."""
    images = torch.rand(4, 1, 8, 8)
    for said in ({'mean': [0.3], 'std': [0.2]}, {'args': {'data_hash': 'x'}}, {'zca': 0.1}):
        assert scale_of(images, said) is None
    assert scale_of(images, {}) == 1


@pytest.mark.parametrize('soft', [True, False])
def test_classes_are_put_in_the_order_of_the_data(soft, real, digits, tmp_path):
    images, labels = real
    names = list(digits.class_names)[::-1]
    own = 9 - labels
    stored = torch.nn.functional.one_hot(own, 10).float() if soft else own
    path = save(tmp_path / 'a.pt', {'data': [[images, stored]], 'class_names': names})
    assert torch.equal(hard(read_sets(path, digits).pairs[0][1]), labels)
    save(path, {'data': [[images, stored]], 'class_names': names[:2]})
    with pytest.raises(UserError, match='not one name a label'):
        read_sets(path, digits)


@pytest.mark.parametrize(
    'looks', [torch.tensor([0, 85]).byte(), torch.tensor([0.0, 85 / 255]).bfloat16()]
)
def test_looks_of_a_whitened_set_of_any_kind_of_number(looks, tmp_path):
    shown = looks.view(2, 1, 1, 1).expand(2, 1, 8, 8).contiguous()
    content = {'data': [[torch.randn(2, 1, 8, 8), torch.arange(2)]], 'zca': 0.1}
    path = save(tmp_path / 'a.pt', content | {'viewable': [shown]})
    main_export.main(f'--synset {path} --out {tmp_path}/b.npz'.split())
    images = load_result(tmp_path / 'b.npz')['data'][0][0]
    assert images.flatten(1).unique().tolist() == [0, 85]
    assert grid.viewable(path, load_result(path), None)[1].mean() == pytest.approx(1 / 3, abs=1e-3)


def test_a_whitened_set_without_its_looks_is_not_shown(tmp_path, capsys):
    path = save(tmp_path / 'a.pt', {'data': [[torch.randn(2, 1, 8, 8), torch.arange(2)]], 'zca': 1})
    line = ['--synset', path, '--out', tmp_path / 'b.npz']
    assert 'lacks what it looks like' in error_of(main_export, line, capsys)
    assert 'lacks what it looks like' in error_of(grid, [path, '--out', tmp_path / 'b'], capsys)


def test_a_mean_alone_does_not_say_how_a_set_was_normalised(tmp_path, capsys):
    content = {'data': [[torch.randn(2, 1, 8, 8), torch.arange(2)]], 'mean': [0.5]}
    path = save(tmp_path / 'a.pt', content)
    line = ['--synset', path, '--out', tmp_path / 'b.npz']
    assert 'pass the --dataset it is of' in error_of(main_export, line, capsys)
    main_export.main([*map(str, line), '--dataset', 'Digits'])
    assert len(load_result(tmp_path / 'b.npz')['data'][0][0]) == 2


def test_pictures_are_not_written_into_the_set(tmp_path, capsys):
    folder = pictures(tmp_path / 'set')
    line = ['--synset', folder, '--out', folder / 'sub']
    assert 'sub is within' in error_of(main_export, line, capsys) and not (folder / 'sub').exists()


def pictures(folder, names=('0', '1')):
    for c, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        Image.new('L', (8, 8), 100 * c).save(folder / name / 'a.png')
    return folder


def test_a_picture_that_moves_makes_another_set(tmp_path):
    folder = pictures(tmp_path / 'set')
    (folder / '0' / 'b').write_bytes((folder / '0' / 'a.png').read_bytes())  # without a suffix
    before = content_hash(folder)
    (folder / '0' / 'b').rename(folder / '1' / 'b')
    assert content_hash(folder) != before
    (folder / '1' / 'Thumbs.db').write_text('x')
    os.mkfifo(folder / '1' / 'c')
    assert len(load_result(folder)['data'][0][0]) == 3  # what is no picture is left out
    (folder / '1' / 'd.png').symlink_to('nowhere')
    with pytest.raises(UserError, match='d.png cannot be read as an image'):
        load_result(folder)


@pytest.mark.parametrize(
    ('line', 'message'),
    [('--synset a.pt --csv a.pt', 'ends in .csv'),
     ('--synset a.pt --csv /dev/stdout', 'ends in .csv')],
)  # fmt: skip
def test_a_table_replaces_no_set(line, message, real, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = save(tmp_path / 'a.pt', list(real)).read_bytes()
    with pytest.raises(SystemExit):
        main_eval.main(f'{EVALUATE} {line}'.split())
    assert message in capsys.readouterr().err and (tmp_path / 'a.pt').read_bytes() == before


def test_an_export_is_of_one_set_and_passes_over_its_evaluations(real, tmp_path, capsys):
    own = save(tmp_path / 'own.pt', {'data': [list(real)], 'args': {}})
    copy = save(tmp_path / 'copy.pt', {'data': [list(real)], 'args': {'made_by': {}}})
    out = ['--out', tmp_path / 'out.pt', '--synset']
    assert 'exports one set, and there are 2' in error_of(main_export, [*out, own, own], capsys)
    main_export.main([*map(str, [*out, own, copy])])
    assert torch.equal(torch.load(tmp_path / 'out.pt'), real[0])


@pytest.mark.parametrize('shape', [(5, 1, 8, 8), (5, 8, 8, 1), (5, 8, 8)])
def test_archives_hold_channels_first_or_last(shape, tmp_path):
    pixels = np.arange(5 * 64, dtype=np.uint16).astype(np.uint8)
    np.savez(tmp_path / 'a.npz', images=pixels.reshape(shape), labels=np.arange(5))
    ((images, _),) = load_result(tmp_path / 'a.npz')['data']
    assert np.array_equal(images.numpy(), pixels.reshape(5, 1, 8, 8))


@pytest.mark.parametrize(('synset', 'out'), [('a.pt', 'a.pt'), ('v_labels.pt', 'v_images.pt')])
def test_an_export_replaces_no_set(synset, out, real, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = save(tmp_path / synset, list(real)).read_bytes()
    with pytest.raises(SystemExit):
        main_export.main(['--synset', synset, '--out', out])
    assert 'which is the set itself' in capsys.readouterr().err
    assert (tmp_path / synset).read_bytes() == before


@pytest.mark.parametrize(
    'names',
    [
        ['a', 'a'],
        ['..', 'b'],
        ['a/b', 'c'],
        ['.x', 'y'],
        ['Cat', 'cat'],
        ['a', 'a.'],
        ['é', 'e\u0301'],
        ['__MACOSX', 'b'],
        ['x' * 300, 'b'],
        ['\ud800', 'b'],
        ['b', ' '],
    ],
)
def test_names_that_are_no_folders(names, tmp_path, capsys):
    content = {'data': [[torch.zeros(2, 1, 8, 8), torch.arange(2)]], 'class_names': names}
    path = save(tmp_path / 'a.pt', content | {'mean': [0.5], 'std': [1.0]})
    with pytest.raises(SystemExit):
        main_export.main(f'--synset {path} --out {tmp_path}/new'.split())
    assert 'cannot each name a folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    'change',
    [{'std': [1e39]}, {'std': [0.0]}, {'std': [-1.0]}, {'mean': [1e30]},
     {'viewable': [torch.zeros(2, 1, 8, 8)]},
     {'data': [[torch.zeros(10, 1, 8, 8, device='meta'), torch.arange(10)]]},
     {'data': [[torch.zeros(10, 1, 8, 8), torch.arange(10).double() * 1e19]]}],
    ids=range(7),
)  # fmt: skip
def test_numbers_that_cannot_be_are_refused(change, tmp_path):
    good = {'data': [[torch.zeros(10, 1, 8, 8), torch.arange(10)]], 'mean': [0.5], 'std': [1.0]}
    load_result(save(tmp_path / 'good.pt', good))
    with pytest.raises(UserError):
        load_result(save(tmp_path / 'a.pt', good | change))


@pytest.mark.parametrize(
    'change',
    [{'x_train': np.zeros(3)}, {'x_train': np.zeros((2, 8))}, {'y_train': np.array(['a', 'b'])},
     {'x_train': np.zeros((2, 1, 1, 8, 8))}, {'x_train': np.zeros((2, 8, 8), np.longdouble)}],
    ids=range(5),
)  # fmt: skip
def test_archives_that_are_no_sets(change, tmp_path):
    good = {'x_train': np.zeros((2, 8, 8), '>f4'), 'y_train': np.arange(2)}
    np.savez(tmp_path / 'a.npz', class_names='one', **good)
    assert load_result(tmp_path / 'a.npz')['class_names'] == ['one']
    np.savez(tmp_path / 'a.npz', **good | change)
    with pytest.raises(UserError, match='no set'):
        load_result(tmp_path / 'a.npz')


def test_the_factor_of_another_project_is_not_believed(real, tmp_path, capsys):
    path = save(tmp_path / 'a.pt', {'data': [real], 'args': {'factor': 2}})
    line = f'--synset {path} --dataset Digits --model MLP --num_eval 1 --epoch_eval_train 1'
    for words, num, said in (('', 10, True), (' --factor 2', 40, False)):
        main_eval.main(f'{line} --save_path {tmp_path}/out{words}'.split())
        output = capsys.readouterr().out
        assert f'1 x {num} of 1x8x8' in output and ('add --factor' in output) == said


def test_flags_that_the_file_names_need_not_be_typed(tmp_path, capsys):
    path = condensed(tmp_path)
    line = f'--synset {path} --num_eval 1 --epoch_eval_train 1 --save_path {tmp_path / "out"}'
    main_eval.main(line.split())
    output = capsys.readouterr().out
    assert 'as the file was made: --dataset Digits --model MLP' in output
    result = load_result(next((tmp_path / 'out').glob('*/res_*.pt')))
    assert list(result['accs_all_exps']) == ['MLP']
    assert result['accs_all_exps'] == load_result(path)['accs_all_exps']


def test_files_of_labels_among_the_sets_are_left_out(real, tmp_path, capsys):
    images, labels = real
    paths = [save(tmp_path / 'images_1.pt', images), save(tmp_path / 'labels_1.pt', labels)]
    evaluate(paths, tmp_path / 'out', capsys)
    assert len(list((tmp_path / 'out').glob('*/res_*.pt'))) == 1


def test_the_faults_of_a_set_are_said_together(real, tmp_path):
    images, labels = real
    images = images.clone()
    images[3, 0, 2, 2], images[5, 0, 0, 0] = float('nan'), float('inf')
    with pytest.raises(UserError) as error:
        load_result(save(tmp_path / 'a.pt', [images, labels + 0.9]))
    for words in ('2 faults', '2 of 10 images hold NaN', 'the label 0.9 is no class'):
        assert words in str(error.value)
    for content, message in (
        ([real[0], labels - 1], 'the label -1 is no class'),
        ([real[0], labels[:7]], 'but labels of shape (7,)'),
        ([real[0].long(), labels], 'images of torch.int64 are neither'),
        ([real[0], torch.full((10, 10), float('nan'))], 'soft labels hold NaN'),
        ([real[0], torch.ones(10, 10).long()], 'unless they are one-hot'),
        ([real[0], labels + 10**12], 'the label 1e+12 is no class'),
        ([real[0][:0], labels[:0]], 'images of shape (0, 1, 8, 8) have no pixel'),
        ([real[0].double() * 1e300, labels], '10 of 10 images hold NaN or infinite'),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            load_result(save(tmp_path / 'a.pt', content))


def test_a_folder_of_runs_is_no_set(real, tmp_path):
    (tmp_path / 'run').mkdir()
    path = save(tmp_path / 'run' / 'res_x.pt', list(real))
    for folder in (tmp_path, path.parent):
        with pytest.raises(UserError, match=f'a folder of runs; name their files, such as {path}'):
            load_result(folder)


def test_all_files_that_cannot_be_evaluated_are_named(real, tmp_path, capsys):
    images, labels = real
    good = save(tmp_path / 'good.pt', [images, labels])
    paths = [save(tmp_path / 'nan.pt', [images * np.nan, labels]), tmp_path / 'missing.pt']
    line = [*EVALUATE.split(), '--save_path', tmp_path / 'out', '--synset', good]
    error = error_of(main_eval, [*line, *paths], capsys)
    assert '--synset: 2 faults' in error and 'nan.pt' in error and 'missing.pt' in error
    assert error_of(main_eval, [*line, paths[0]], capsys).startswith(f'error: {paths[0]}: 10 of 10')
    assert not (tmp_path / 'out').exists()
