"""Own data as people have them: read rightly and said in one line, or refused in one."""

import gzip
import io
import pickle
import re
import sys
import tarfile
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from scipy.io import savemat
from torchvision import transforms

import main as main_script
from dataset.arrays import planar, tidy
from dataset.data import load_dataset
from dataset.names import name_of
from dataset.pictures import read_image
from dataset.readers import DATASETS, dsa_strategy
from experiment.arguments import parse_condensing, run_name
from methods import SHELF
from utils import UserError

RNG = np.random.default_rng(0)
Y, YT = np.repeat(range(3), 12), np.repeat(range(3), 6)
X = (60 * Y[:, None, None, None] + RNG.integers(0, 30, (36, 16, 16, 3))).astype('uint8')
XT = (60 * YT[:, None, None, None] + RNG.integers(0, 30, (18, 16, 16, 3))).astype('uint8')
CLASSES = 'cat', 'cow', 'dog'


def npz(path, **arrays):
    """Write the tiny set with changes (None: leave it out), return its path as text."""
    arrays = {'x_train': X, 'y_train': Y, 'x_test': XT, 'y_test': YT} | arrays
    np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
    return str(path)


def folder(root, splits=('train', 'test'), inside='', suffix='.png', num=5):
    """Write num pictures of each class as root/<split>/<class>/…, return root as text."""
    for split in splits:
        for c, name in enumerate(CLASSES):
            place = Path(root, split, name, inside)
            place.mkdir(parents=True)
            for i in range(num):
                Image.fromarray(X[12 * c + i]).save(place / f'{i}{suffix}')
    return str(root)


def is_the_tiny_set(data, names=None):
    assert torch.equal(data.pixels_train.permute(0, 2, 3, 1), torch.from_numpy(X))
    assert torch.equal(data.pixels_test.permute(0, 2, 3, 1), torch.from_numpy(XT))
    assert data.labels_train.tolist() == Y.tolist() and data.labels_test.tolist() == YT.tolist()
    assert data.pixels_train.is_contiguous() and data.class_names == (names or ('0', '1', '2'))


def refusal(path, **keywords):
    with pytest.raises(UserError) as caught:
        load_dataset(str(path), **keywords)
    text = str(caught.value)
    assert '\n' not in text and 'delete' not in text and 'remove' not in text
    return text


# Arrays.

MEDMNIST = {
    'x_train': None, 'y_train': None, 'x_test': None, 'y_test': None,
    'train_images': X, 'train_labels': Y[:, None].astype('uint8'),
    'val_images': X[:3], 'val_labels': Y[:3, None],
    'test_images': XT, 'test_labels': YT[:, None],
}  # fmt: skip
WORDS = np.array(CLASSES)
READ = {
    'Keras': ({}, ''),
    'MedMNIST': (MEDMNIST, 'left out: val_images, val_labels'),
    'val for test': (
        {'x_test': None, 'y_test': None, 'x_val': XT, 'y_val': YT}, ''),
    'floats to 1': (
        {'x_train': X / 255, 'x_test': (XT / 255).astype('float32')}, r'\[0, 1\] are read as'),
    'whole floats': ({'x_train': X.astype('f4'), 'x_test': XT.astype('f4')}, 'whole pixels'),
    'whole numbers': ({'x_train': X.astype('i8'), 'x_test': XT.astype('i8')}, 'int64 from 0 to'),
    'channels first': (
        {'x_train': X.transpose(0, 3, 1, 2), 'x_test': XT.transpose(0, 3, 1, 2)}, r'\(N, C, H, W'),
    'one-hot': ({'y_train': np.eye(3)[Y], 'y_test': np.eye(3, dtype=int)[YT]}, 'one-hot rows of 3'),
    'whole labels': ({'y_train': Y.astype('f4')}, ''),
}  # fmt: skip


@pytest.mark.parametrize('case', READ)
def test_arrays_that_can_be_told_are_read_and_said_in_one_line(case, tmp_path, capsys):
    change, line = READ[case]
    is_the_tiny_set(load_dataset(npz(tmp_path / 'own.npz', **change)))
    said = capsys.readouterr().out.splitlines()
    assert len(said) == bool(line)
    for text in said:
        assert text.startswith('own: ') and re.search(line, text)


@pytest.mark.parametrize('dtype', ['f2', 'f4', 'f8'])
def test_every_pixel_survives_as_a_float(dtype, tmp_path):
    x = np.tile(np.arange(256, dtype=np.uint8).reshape(1, 16, 16), (36, 1, 1))
    path = npz(
        tmp_path / 'own.npz', x_train=x * np.dtype(dtype).type(1 / 255), x_test=XT[..., 0] / 255
    )
    assert np.array_equal(load_dataset(path).pixels_train[:, 0].numpy(), x)


def test_labels_from_one_and_names(tmp_path, capsys):
    path = npz(tmp_path / 'own.npz', y_train=Y + 1, y_test=YT + 1)
    is_the_tiny_set(load_dataset(path), ('1', '2', '3'))
    assert 'labels 1 … 3 are read as 0 … 2' in capsys.readouterr().out
    for kind in ('U', 'S'):
        path = npz(tmp_path / 'own.npz', y_train=WORDS[Y].astype(kind), y_test=WORDS[YT])
        is_the_tiny_set(load_dataset(path), CLASSES)
    path = npz(tmp_path / 'own.npz', class_names=WORDS)
    is_the_tiny_set(load_dataset(path), CLASSES)
    capsys.readouterr()
    is_the_tiny_set(load_dataset(npz(tmp_path / 'own.npz', class_names=WORDS[:2])))
    assert capsys.readouterr().out == 'own: left out: class_names, which are no 3 words\n'


def test_arrays_without_a_test_part_are_split_alike_each_time(tmp_path, capsys):
    path = npz(tmp_path / 'own.npz', x_train=None, y_train=None, x_test=None, y_test=None, x=X, y=Y)
    first, again = load_dataset(path), load_dataset(path)
    assert first.fingerprint == again.fingerprint
    assert torch.bincount(first.labels_test).tolist() == [2, 2, 2] and len(first.labels_train) == 30
    assert 'one image in 6 of each class is held out' in capsys.readouterr().out
    both = [
        {(image.numpy().tobytes(), int(label)) for image, label in zip(*part, strict=True)}
        for part in (
            (first.pixels_train, first.labels_train),
            (first.pixels_test, first.labels_test),
        )
    ]
    given = {(x.transpose(2, 0, 1).tobytes(), int(y)) for x, y in zip(X, Y, strict=True)}
    assert not both[0] & both[1] and both[0] | both[1] == given


def test_large_arrays_are_split_and_arranged_in_their_own_memory():
    labels = np.arange(5000) % 5
    given = np.zeros((5000, 64, 64, 3), np.uint8)
    given[:, 5, 7, 2] = labels
    tracemalloc.start()
    arrays, _ = tidy(Path('own'), 'own', {'x_train': given, 'y_train': labels})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 0.5 * given.nbytes  # the test part, a sixth, and a thousand images at a time
    for part in ('train', 'test'):
        assert np.array_equal(arrays[f'x_{part}'][:, 5, 7, 2], arrays[f'y_{part}'])
    assert len(arrays['y_train']) + len(arrays['y_test']) == 5000


def test_a_long_read_shows_a_bar(tmp_path, monkeypatch, capsys):
    path = npz(tmp_path / 'own.npz')
    load_dataset(path)
    assert not capsys.readouterr().err
    monkeypatch.setattr('dataset.pictures.SECONDS', 0)
    is_the_tiny_set(load_dataset(path))
    assert 'own.npz' in capsys.readouterr().err


TWO = np.stack([Y == 0, Y < 2, Y == 2], 1).astype(int)
REFUSED = {
    'several labels': ({'y_train': TWO, 'y_test': np.eye(3)[YT]}, '12 of 36.*several labels'),
    'scores': ({'y_train': np.eye(3)[Y] * 0.9, 'y_test': np.eye(3)[YT]}, r'y = y\.argmax\(1\)'),
    'normalised': (
        {'x_train': (X / 255 - 0.5) / 0.2, 'x_test': XT / 255}, r'\(x \* std \+ mean\) \* 255'),
    'not whole': ({'x_train': X + 0.5, 'x_test': XT + 0.5}, r'x = x\.round\(\)'),
    '16 bits': ({'x_train': X.astype('u2') * 257, 'x_test': XT.astype('u2')}, r'x / 257'),
    'no number': ({'x_train': X * np.nan, 'x_test': XT / 255}, r'np\.isfinite\(x\)'),
    'of two kinds': ({'x_test': XT / 255}, 'x_test has dtype float64'),
    'four channels': ({'x_train': X[..., [0, 1, 2, 0]]}, r'x = x\[\.\.\., :3\]'),
    'rows': ({'x_train': X.reshape(36, -1)}, r'x = x\.reshape\(-1, 3, 16, 16\)'),
    'a gap': ({'y_train': 2 * Y, 'y_test': 2 * YT}, r'class 1 has no .*1 more.*np\.unique\(both'),
    'no whole labels': ({'y_train': Y * 1e300}, 'y_train has dtype float64'),
    'no images': ({'x_train': X[:0], 'y_train': Y[:0]}, '0 images but 0 labels'),
    'one class': ({'y_train': 0 * Y, 'y_test': 0 * YT}, 'all images are of one class'),
    'a new class': ({'y_train': WORDS[Y], 'y_test': np.array(['pig'] * 18)}, "the class 'pig'"),
    'names and numbers': ({'y_train': WORDS[Y]}, 'y_train has dtype <U3.*whole numbers'),
    'two of a kind': ({'train_images': X}, "'train_images' is a second array 'x_train'"),
    'nothing': (
        {'x_train': None, 'y_train': None, 'x_test': None, 'y_test': None, 'z': X},
        "no array 'x_train'.*found: z"),
    'all at once': (
        {'x_train': X - 0.5, 'x_test': XT - 0.5, 'y_train': Y + 0.5}, r'2 faults: \(1\).*\(2\)'),
}  # fmt: skip


@pytest.mark.parametrize('case', REFUSED)
def test_arrays_that_cannot_be_told_are_refused_with_the_cure(case, tmp_path):
    change, message = REFUSED[case]
    with pytest.raises(UserError, match=message):
        load_dataset(npz(tmp_path / 'own.npz', **change))


def test_the_cure_of_gaps_works(tmp_path):
    text = refusal(npz(tmp_path / 'own.npz', y_train=Y * 7 - 3, y_test=YT * 7 - 3))
    code = text[text.index('both = ') : text.index(' numbers the labels')]
    space = {'np': np, 'y_train': Y * 7 - 3, 'y_test': YT * 7 - 3}
    exec(code, space)
    path = npz(tmp_path / 'own.npz', y_train=space['y_train'], y_test=space['y_test'])
    is_the_tiny_set(load_dataset(path))


def test_channels_are_rearranged_in_place():
    pixels = np.random.default_rng(0).integers(0, 256, (2500, 3, 5, 3), dtype=np.uint8)
    expected, place = pixels.copy(), pixels.__array_interface__['data']
    result = planar(pixels)
    assert np.array_equal(result, expected) and result.__array_interface__['data'] == place
    assert result.transpose(0, 3, 1, 2).flags.c_contiguous


def test_parts_of_two_sizes_are_cured_by_im_size(tmp_path):
    path = npz(tmp_path / 'own.npz', x_test=XT[:, :12, :12])
    assert '--im_size N' in refusal(path)
    assert load_dataset(path, im_size=8).pixels_test.shape == (18, 3, 8, 8)


# Folders.


@pytest.mark.parametrize('val', ['val', 'valid', 'validation', 'dev', 'Val'])
def test_val_is_the_test_part_where_there_is_no_test(val, tmp_path, capsys):
    data = load_dataset(folder(tmp_path / 'own', ('train', val), inside='deeper/still'))
    assert data.class_names == CLASSES and len(data.labels_test) == 15
    assert capsys.readouterr().out == f'own: {val}/ is the test part\n'
    folder(tmp_path / 'own', ('testing',), num=4)
    assert len(load_dataset(str(tmp_path / 'own')).labels_test) == 12
    assert f'left out: {val}/' in capsys.readouterr().out


@pytest.mark.parametrize('split', ['', 'train'])
def test_a_folder_without_a_test_part_is_split_alike_each_time(split, tmp_path, capsys):
    root = folder(tmp_path / 'own', (split,), num=12)
    first = load_dataset(root)
    assert load_dataset(root).fingerprint == first.fingerprint
    assert torch.bincount(first.labels_test).tolist() == [2, 2, 2] and len(first.labels_train) == 30
    assert 'one image in 6 of each class' in capsys.readouterr().out
    seen = torch.cat([first.pixels_train, first.pixels_test]).flatten(1).unique(dim=0)
    assert len(seen) == 36
    if split:  # what a contest hands out without classes is no test part
        (tmp_path / 'own/test').mkdir()
        Image.fromarray(X[0]).save(tmp_path / 'own/test/0.png')
        assert load_dataset(root).fingerprint == first.fingerprint


def test_tiny_imagenet_as_unzipped(tmp_path, capsys):
    root = tmp_path / 'tiny-imagenet-200'
    folder(root, ('train',), inside='images', suffix='.JPEG')
    (root / 'train/cat/cat_boxes.txt').write_text('0.JPEG\t0\t0\t9\t9\n')
    for split in ('val', 'test'):
        (root / split / 'images').mkdir(parents=True)
        for i in range(6):
            Image.fromarray(XT[3 * i]).save(root / split / 'images' / f'{split}_{i}.JPEG')
    lines = [f'val_{i}.JPEG\t{CLASSES[YT[3 * i]]}\t0\t0\t9\t9\n' for i in reversed(range(6))]
    (root / 'val/val_annotations.txt').write_text(''.join(lines))
    (root / 'words.txt').write_text('cat\tEgyptian cat, Felis\ncow\tox\n')
    data = load_dataset(str(root))
    assert data.class_names == ('Egyptian cat', 'ox', 'dog') and len(data.labels_train) == 15
    assert data.labels_test.tolist() == [0, 0, 1, 1, 2, 2]
    said = capsys.readouterr().out
    assert 'val/ is the test part' in said and 'left out: test/' in said
    assert 'left out, no pictures: 1 (cat_boxes.txt)' in said
    (root / 'val/val_annotations.txt').write_text('val_0.JPEG\tyak\t0\t0\t9\t9\n')
    assert "'yak', which train has not" in refusal(root)


def test_what_others_left_in_the_folders_is_passed_over(tmp_path):
    plain = load_dataset(folder(tmp_path / 'own')).fingerprint
    for place in (
        '.ipynb_checkpoints',
        '__MACOSX',
        'train/.ipynb_checkpoints',
        'test/__MACOSX',
        'train/cat/.ipynb_checkpoints',
    ):
        (tmp_path / 'own' / place).mkdir()
        Image.fromarray(X[0]).save(tmp_path / 'own' / place / 'x.png')
    (tmp_path / 'own/train/cat/._0.png').write_bytes(b'Mac')
    assert load_dataset(str(tmp_path / 'own')).fingerprint == plain


def test_pictures_are_known_by_their_content(tmp_path, capsys):
    plain = load_dataset(folder(tmp_path / 'own')).fingerprint
    cat = tmp_path / 'own/train/cat'
    (cat / '0.png').rename(cat / '0')
    (cat / '1.png').rename(cat / '1.jfif')
    (cat / 'notes.txt').write_text('P1 is no picture')
    (cat / 'empty').write_text('')
    Image.fromarray(X[0]).save(cat / 'icon', 'PCX')  # of a format that nobody's data have
    Image.fromarray(X[0]).save(tmp_path / 'own/train/loose.png')
    assert load_dataset(str(tmp_path / 'own')).fingerprint == plain
    assert capsys.readouterr().out.splitlines() == [
        'own: left out, no pictures: 3 (empty, icon, notes.txt)',
        'own: left out, outside of class folders: 1 (loose.png)',
    ]


def test_all_faults_of_a_folder_are_told_together(tmp_path):
    root = Path(folder(tmp_path / 'own'))
    for i in range(5):
        path = root / f'train/cow/{i}.png'
        path.write_bytes(path.read_bytes()[:-60])
    text = refusal(root)
    assert '5 faults' in text and all(f'cow/{i}.png' in text for i in range(3))
    assert 'cow/4.png' not in text and text.endswith('…')
    (root / 'test/pig').mkdir()
    (root / 'test/dog/x.png').write_text('no picture')
    Image.fromarray(X[0, :9]).save(root / 'train/cat/odd.png')
    text = refusal(root)  # headers alone: no picture is decoded
    assert '3 faults' in text and "'pig'" in text and 'dog/x.png' in text
    assert '1 of 31 pictures are not 16x16' in text and 'odd.png has 16x9' in text
    assert 'odd.png' not in refusal(root, im_size=8)


def test_a_refusal_lists_what_was_found(tmp_path):
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'a.txt').touch()
    text = refusal(tmp_path)
    assert 'found: a.txt, photos/' in text and f'--dataset {tmp_path}/photos?' in text
    assert '3 of 3 classes have a single image' in refusal(folder(tmp_path / 'few', [''], num=1))
    for name in ('cow', 'dog'):
        (tmp_path / 'one/train' / name).mkdir(parents=True)
    assert '2 faults' in refusal(tmp_path / 'one')


# What a picture shows.


def test_pictures_are_turned_as_exif_says(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned clockwise to be shown
    Image.fromarray(pixels).save(tmp_path / 'x.jpg', exif=exif, quality=100)
    shown = read_image(tmp_path / 'x.jpg')
    assert shown.shape == (16, 8, 3) and shown[:7].min() > 200 and shown[9:].max() < 50
    root = Path(folder(tmp_path / 'own'))
    for path in root.glob('*/*/*.png'):
        Image.fromarray(pixels.transpose(1, 0, 2)).save(path)
    Image.fromarray(pixels).save(root / 'train/cat/0.jpg', exif=exif)
    assert load_dataset(str(root)).shape == (3, 16, 8)


@pytest.mark.parametrize('mode', ['RGBA', 'LA', 'P', 'RGB'])
def test_transparent_parts_show_white(mode, tmp_path):
    picture = Image.new('RGBA', (4, 4), (200, 200, 200, 255))
    picture.paste((200, 10, 10, 0), (0, 0, 2, 4))
    if mode == 'P':
        picture = Image.fromarray(np.repeat([[0, 0, 1, 1]], 4, 0).astype('uint8'), 'P')
        picture.putpalette([200, 10, 10, 200, 200, 200])
    keywords = {'transparency': {'P': 0, 'RGB': (200, 10, 10)}.get(mode)}
    picture = picture if mode == 'P' else picture.convert(mode)
    picture.save(tmp_path / 'x.png', **{k: v for k, v in keywords.items() if v is not None})
    shown = read_image(tmp_path / 'x.png')
    assert (shown[:, :2] == 255).all() and (shown[:, 2:] == 200).all()


def test_opaque_pictures_stay_as_they_are(tmp_path):
    rgba = np.concatenate([X[0], np.full((16, 16, 1), 255, np.uint8)], 2)
    Image.fromarray(rgba).save(tmp_path / 'x.png')
    assert np.array_equal(read_image(tmp_path / 'x.png'), X[0])


@pytest.mark.parametrize('shape', [(30, 47), (47, 30), (17, 16), (16, 16), (200, 9)])
def test_rectangles_are_cut_as_the_field_does(shape, tmp_path):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8))
    picture.save(tmp_path / 'x.png')
    bicubic = transforms.InterpolationMode.BICUBIC
    field = transforms.Compose([transforms.Resize(12, bicubic), transforms.CenterCrop(12)])
    assert np.array_equal(read_image(tmp_path / 'x.png', 12), np.asarray(field(picture)))
    squashed = picture.resize((12, 12), Image.Resampling.BICUBIC)
    assert np.array_equal(read_image(tmp_path / 'x.png', 12, squash=True), np.asarray(squashed))


def test_the_flag_squashes_arrays_and_pictures(tmp_path):
    path = npz(tmp_path / 'own.npz', x_train=X[:, :9], x_test=XT[:, :9])
    cut, squashed = (load_dataset(path, im_size=8, resize=how) for how in (None, 'squash'))
    assert cut.shape == squashed.shape == (3, 8, 8) and cut.fingerprint != squashed.fingerprint
    with pytest.raises(UserError, match='--im_size N'):
        load_dataset(path, resize='squash')


# Names.


def test_own_data_are_never_taken_for_a_known_set(tmp_path, capsys):
    grey = {'x_train': X[..., 0], 'x_test': XT[..., 0]}
    for name in ('mnist.npz', 'MNIST.npz'):
        own = load_dataset(npz(tmp_path / name, **grey))
        assert own.name == f'own-{name[:-4]}' and own.mirrored and own.mean.item() != 0.1307
        assert 'is read as own data' in capsys.readouterr().out
        assert 'flip' in dsa_strategy(str(tmp_path / name)) and 'flip' in dsa_strategy(own.name)
    known = load_dataset('MNIST', tmp_path)
    assert known.name == 'MNIST' and not known.mirrored
    own = load_dataset('mnist.npz', tmp_path)  # by the name of a file in the folder of data sets
    assert own.name == 'own-mnist'


def test_names(tmp_path, monkeypatch):
    assert [name_of(name) for name in DATASETS] == [*DATASETS]
    assert name_of('a/own.npz') == name_of('own.NPZ') == name_of('b/own') == 'own'
    assert name_of('flowers.v1') == 'flowers.v1' and name_of('flowers.v2/') == 'flowers.v2'
    (tmp_path / 'real').mkdir()
    monkeypatch.chdir(tmp_path / 'real')
    assert name_of('.') == name_of('../real') == 'real' and name_of('..') == tmp_path.name
    odd = [name_of(f'a{sign}b') for sign in '|"\'\n\x1b`$*?:']
    assert len({*odd}) == len(odd) and all(name.startswith('a-b-') for name in odd)
    long = [name_of(sign * 100) for sign in ('ä', 'ö')]
    assert len({*long}) == 2 and all(len(name.encode()) <= 64 for name in long)


@pytest.mark.parametrize('name', ['x' * 200 + '.npz', 'a|"b\'\x1b\n.npz', 'ü' * 100 + '.npz'])
def test_a_run_on_data_of_any_name(name, tmp_path):
    path = npz(tmp_path / name)
    line = '--model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 1 --method random --save_path'
    main_script.main(['--dataset', path, *line.split(), str(tmp_path / 'out')])
    (result,) = (tmp_path / 'out').glob('*/res_*.pt')
    assert name_of(path) in result.name


def test_names_of_runs_on_known_sets_stay():
    args = parse_condensing('', ['--dataset', 'CIFAR10', '--device', 'cpu'], SHELF, draw='uniform')
    assert args.run_name.startswith('DC_CIFAR10_ConvNet_1ipc_seed0_') and args.resize is None
    words = ['--dataset', 'a/own.npz', '--im_size', '8', '--resize', 'squash']
    args = parse_condensing('', words, SHELF, draw='uniform')
    assert args.run_name.startswith('DC_own_') and 'resize=squash' in args.run_name
    names = [run_name('BS', vars(args), {'extractor': sign * 300}) for sign in 'ab']
    assert names[0][:200] != names[1][:200] and all(len(name) <= 255 for name in names)


# Exports of Hugging Face, and the files of known data sets.


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, 'png')
    return buffer.getvalue()


@pytest.fixture
def pyarrow(monkeypatch):
    """Stand in for pyarrow: 'files' are pickles of (schema's metadata, {column: values})."""

    class Batch:
        def __init__(self, values):
            self.values = values

        def column(self, number):
            assert number == 0
            return types.SimpleNamespace(to_pylist=lambda: self.values)

    class ParquetFile:
        def __init__(self, path):
            metadata, self.columns = pickle.loads(Path(path).read_bytes())
            self.schema_arrow = types.SimpleNamespace(names=[*self.columns], metadata=metadata)
            num = len(next(iter(self.columns.values())))
            self.metadata = types.SimpleNamespace(num_rows=num)

        def iter_batches(self, batch_size, columns):
            (name,) = columns
            for start in range(0, self.metadata.num_rows, batch_size):
                yield Batch(self.columns[name][start : start + batch_size])

    parquet = types.ModuleType('pyarrow.parquet')
    parquet.ParquetFile = ParquetFile
    package = types.ModuleType('pyarrow')
    package.parquet = parquet
    monkeypatch.setitem(sys.modules, 'pyarrow', package)
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', parquet)


NAMED = {b'huggingface': b'{"info": {"features": {"label": {"names": ["cat", "cow", "dog"]}}}}'}


def shards(root, metadata=None, struct=True, labels=None):
    for split, x, y, num in (('train', X, Y, 2), ('test', XT, YT, 1)):
        for number, part in enumerate(np.array_split(np.arange(len(x)), num)):
            images = [png(x[i]) for i in part]
            images = [{'bytes': image, 'path': None} for image in images] if struct else images
            label = [y[i].item() if labels is None else labels[y[i]] for i in part]
            path = Path(root, f'{split}-{number:05d}-of-{num:05d}.parquet')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(pickle.dumps((metadata, {'image': images, 'label': label})))
    return str(root)


def test_parquet_shards(pyarrow, tmp_path):
    is_the_tiny_set(load_dataset(shards(tmp_path / 'own/data', NAMED)), CLASSES)
    is_the_tiny_set(load_dataset(str(tmp_path / 'own')), CLASSES)
    is_the_tiny_set(load_dataset(shards(tmp_path / 'raw', struct=False)))
    is_the_tiny_set(load_dataset(shards(tmp_path / 'words', labels=CLASSES)), CLASSES)
    one = load_dataset(str(tmp_path / 'own/data/train-00000-of-00002.parquet'), im_size=8)
    assert one.shape == (3, 8, 8) and len(one.labels_test) == 3


def test_wrong_parquet(pyarrow, tmp_path, monkeypatch):
    root = Path(shards(tmp_path / 'own'))
    path = root / 'test-00000-of-00001.parquet'
    path.write_bytes(pickle.dumps((None, {'image': [b'x', png(X[0, :9])], 'label': [0, 1]})))
    text = refusal(root)
    assert '2 faults' in text and 'row 0 is no picture' in text and 'row 1 has 16x9' in text
    path.write_bytes(pickle.dumps((None, {'text': ['x']})))
    assert 'no column of pictures' in refusal(root) and 'found: text' in refusal(root)
    path.write_bytes(b'PAR1')
    assert f'{path} cannot be read as a parquet file' in refusal(root)
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    assert 'pip install pyarrow' in refusal(root)


CIFAR_X = np.random.default_rng(1).integers(0, 256, (60, 3072), dtype=np.uint8)
CIFAR_Y = np.arange(60) % 10


def cifar_batches(coarse=False):
    """Return {file: dict} of a tiny CIFAR10 (or CIFAR100) as its authors give it."""
    rows = np.array_split(np.arange(60), 6)
    files = [*(f'data_batch_{i}' for i in range(1, 6)), 'test_batch']
    if coarse:
        rows, files = [np.arange(40), np.arange(40, 60)], ['train', 'test']
    key = 'fine_labels' if coarse else 'labels'
    return {
        file: {'data': CIFAR_X[part], key: CIFAR_Y[part].tolist()}
        for file, part in zip(files, rows, strict=True)
    }


def of_python_2(content):
    """Return a batch as Python 2 has pickled it, which is how the authors' files are."""
    data = content['data']

    def string(text):
        return b'T' + len(text).to_bytes(4, 'little') + text

    array = (
        b'cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\nt' + string(b'b') + b'tR('
        + b'I1\n(' + b''.join(b'I%d\n' % side for side in data.shape) + b't'
        + b'cnumpy\ndtype\n(' + string(b'u1') + b'I0\nI1\ntR(I3\n' + string(b'|')
        + b'NNNI-1\nI-1\nI0\ntbI00\n' + string(data.tobytes()) + b'tb'
    )  # fmt: skip
    key = next(key for key in content if key != 'data')
    labels = b'(' + b''.join(b'I%d\n' % label for label in content[key]) + b'l'
    return b'(' + string(b'data') + array + string(key.encode()) + labels + b'd.'


@pytest.mark.parametrize('dump', [of_python_2, lambda content: pickle.dumps(content, protocol=2)])
@pytest.mark.parametrize('packed', [False, True])
@pytest.mark.parametrize('name', ['CIFAR10', 'CIFAR100'])
def test_cifar_in_its_authors_files(name, packed, dump, tmp_path):
    inner, archive = {
        'CIFAR10': ('cifar-10-batches-py', 'cifar-10-python.tar.gz'),
        'CIFAR100': ('cifar-100-python', 'cifar-100-python.tar.gz'),
    }[name]
    place = tmp_path / ('made' if packed else 'data') / inner
    place.mkdir(parents=True)
    for file, content in cifar_batches(name == 'CIFAR100').items():
        (place / file).write_bytes(dump(content))
    (tmp_path / 'data').mkdir(exist_ok=True)
    if packed:
        with tarfile.open(tmp_path / 'data' / archive, 'w:gz') as tar:
            tar.add(place, inner)
    data = load_dataset(name, tmp_path / 'data')
    num = len(data.labels_train)
    assert num == (50 if name == 'CIFAR10' else 40)
    assert torch.equal(data.pixels_train.flatten(1), torch.from_numpy(CIFAR_X[:num]))
    assert torch.equal(data.pixels_test.flatten(1), torch.from_numpy(CIFAR_X[num:]))
    assert data.labels_test.tolist() == CIFAR_Y[num:].tolist()


class Evil:
    def __reduce__(self):
        return (print, ('code of the file ran',))


def test_no_code_of_a_pickle_runs(tmp_path, capsys):
    place = tmp_path / 'cifar-10-batches-py'
    place.mkdir()
    for file, content in cifar_batches().items():
        (place / file).write_bytes(pickle.dumps(content | {'more': Evil()}, protocol=2))
    with pytest.raises(UserError, match='whose code would run'):
        load_dataset('CIFAR10', tmp_path)
    assert 'code of the file ran' not in capsys.readouterr().out
    (place / 'data_batch_1').write_bytes(b'cut')
    with pytest.raises(UserError, match='data_batch_1 cannot be read'):
        load_dataset('CIFAR10', tmp_path)


def test_svhn_in_its_authors_files(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    labels = np.arange(20) % 10 + 1  # 10 is the digit 0
    for part in ('train', 'test'):
        savemat(tmp_path / f'{part}_32x32.mat', {'X': pixels, 'y': labels[:, None]})
    data = load_dataset('SVHN', tmp_path)
    expected = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    assert torch.equal(data.pixels_train, expected)
    assert data.labels_train.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0] * 2
    monkeypatch.setattr(torchvision.datasets.SVHN, '_check_integrity', lambda self: True)
    theirs = torchvision.datasets.SVHN(str(tmp_path), 'test')
    assert np.array_equal(data.pixels_test.numpy(), theirs.data)
    assert np.array_equal(data.labels_test.numpy(), theirs.labels)
    (tmp_path / 'test_32x32.mat').write_bytes(b'cut')
    with pytest.raises(UserError, match='test_32x32.mat cannot be read'):
        load_dataset('SVHN', tmp_path)


def write_idx(place, suffix, value):
    place.mkdir(parents=True, exist_ok=True)
    images = np.full((20, 28, 28), value, np.uint8)
    images[np.arange(20), 0, 0] = np.arange(20)
    for word in ('train', 't10k'):
        for kind, array in (('images', images), ('labels', np.arange(20, dtype=np.uint8) % 10)):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, '>i4').tobytes()
            dot = kind + ('.' if suffix == 'dot' else '-')
            path = place / f'{word}-{dot}idx{array.ndim}-ubyte{suffix.replace("dot", "")}'
            content = head + array.tobytes()
            path.write_bytes(gzip.compress(content) if suffix == '.gz' else content)
    return torch.from_numpy(images)[:, None]


@pytest.mark.parametrize('place', ['', 'MNIST/raw', 'mnist'])
@pytest.mark.parametrize('suffix', ['', '.gz', 'dot'])
def test_mnist_in_its_authors_files(place, suffix, tmp_path):
    images = write_idx(tmp_path / place, suffix, 33)
    data = load_dataset('MNIST', tmp_path)
    assert torch.equal(data.pixels_train, images) and torch.equal(data.pixels_test, images)
    assert data.labels_train.tolist() == [*range(10)] * 2
    if place == 'MNIST/raw' and not suffix:
        theirs = torchvision.datasets.MNIST(str(tmp_path))
        assert torch.equal(data.pixels_train[:, 0], theirs.data)
        assert torch.equal(data.labels_train, theirs.targets)


def test_mnist_and_fashion_have_files_of_the_same_names(tmp_path, monkeypatch, capsys):
    def fail(*args, **keywords):
        raise OSError('no network')

    monkeypatch.setattr('torchvision.datasets.MNIST', fail)
    write_idx(tmp_path, '', 73)
    assert len(load_dataset('FashionMNIST', tmp_path).labels_train) == 20
    with pytest.raises(UserError, match='MNIST is not on disk'):
        load_dataset('MNIST', tmp_path)
    assert 'are of another set' in capsys.readouterr().out
    path = tmp_path / 'train-images-idx3-ubyte'
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match='train-images-idx3-ubyte cannot be read'):
        load_dataset('FashionMNIST', tmp_path)


def test_flipped_bits_of_an_archive_of_cifar_are_refused(tmp_path):
    """gzip has its checksum at the end, behind the last file that is needed."""
    place, archive = tmp_path / 'cifar-10-batches-py', tmp_path / 'd' / 'cifar-10-python.tar.gz'
    place.mkdir()
    archive.parent.mkdir()
    for file, content in cifar_batches().items():
        (place / file).write_bytes(of_python_2(content))
    with tarfile.open(archive, 'w:gz', compresslevel=0) as tar:
        tar.add(place, place.name)
    whole, good = archive.read_bytes(), load_dataset('CIFAR10', archive.parent)
    for position in range(len(whole) // 10, len(whole), len(whole) // 10):
        damaged = bytearray(whole)
        damaged[position] ^= 1
        archive.write_bytes(damaged)
        with pytest.raises(UserError):
            load_dataset('CIFAR10', archive.parent)
    archive.write_bytes(whole)
    assert load_dataset('CIFAR10', archive.parent).fingerprint == good.fingerprint
