"""Data sets: digits, archives, folders, torchvision, and what is wrong with each."""

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from dataset import data
from dataset.pictures import read_image
from dataset.readers import DATASETS
from utils import UserError


@pytest.fixture
def arrays():
    """Return random colour images of three uneven classes, in Keras layout."""
    rng = np.random.default_rng(0)
    return {
        'x_train': rng.integers(0, 256, (30, 12, 12, 3), dtype=np.uint8),
        # Unequal classes, labels (N, 1) as Keras has them.
        'y_train': np.repeat([0, 1, 2], [20, 7, 3])[:, None],
        'x_test': rng.integers(0, 256, (6, 12, 12, 3), dtype=np.uint8),
        'y_test': np.arange(6) % 3,
    }


def write_folder(root, arrays, suffix='png'):
    """Write arrays as images root/{train,test}/<class>/*; return root."""
    for split in ('train', 'test'):
        labels = arrays[f'y_{split}'].reshape(-1)
        for number, (image, label) in enumerate(zip(arrays[f'x_{split}'], labels, strict=True)):
            folder = root / split / f'class{label}'
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f'{number:03d}.{suffix}')
    return root


def test_digits_are_a_fixed_stratified_split(digits):
    again = data.load_dataset('Digits')
    assert (
        digits.shape == (1, 8, 8)
        and len(digits.labels_train) == 1347
        and len(digits.labels_test) == 450
    )
    assert torch.equal(digits.pixels_train, again.pixels_train)
    counts = torch.bincount(digits.labels_test)
    assert counts.min() >= 43 and counts.max() <= 46
    assert digits.pixels_train.float().div(255).mean().item() == pytest.approx(
        DATASETS['Digits'].mean[0], abs=1e-3
    )


def test_normalised_images_are_what_the_papers_use(digits):
    index = torch.tensor([5, 3, 5])
    pixels = digits.pixels_train[index].numpy().astype(np.float32)
    expected = (pixels / 255 - np.float32(DATASETS['Digits'].mean[0])) / np.float32(
        DATASETS['Digits'].std[0]
    )
    assert np.allclose(digits.images(index).numpy(), expected, atol=1e-6)
    assert torch.allclose(
        digits.viewable(digits.images(index)) * 255, torch.from_numpy(pixels), atol=1e-3
    )


def test_own_npz(tmp_path, arrays):
    np.savez(tmp_path / 'mine.npz', **arrays)
    own = data.load_dataset(str(tmp_path / 'mine.npz'))
    assert (own.name, own.shape, own.num_classes) == ('mine', (3, 12, 12), 3)
    assert [len(index) for index in own.indices_class] == [20, 7, 3]
    assert torch.equal(own.pixels_train.permute(0, 2, 3, 1), torch.from_numpy(arrays['x_train']))
    values = arrays['x_train'].reshape(-1, 3) / 255
    assert np.allclose(own.mean.flatten(), values.mean(0), atol=1e-6)
    assert np.allclose(own.std.flatten(), values.std(0), atol=1e-6)
    assert data.load_dataset(str(tmp_path / 'mine.npz'), im_size=8).shape == (3, 8, 8)


def test_npz_in_the_data_path_comes_first(tmp_path, arrays):
    grey = {key: value[..., 0] if key[0] == 'x' else value for key, value in arrays.items()}
    np.savez(tmp_path / 'mnist.npz', **grey)
    mnist = data.load_dataset('MNIST', tmp_path)
    assert mnist.shape == (1, 12, 12) and mnist.mean.item() == pytest.approx(0.1307)
    with_axis = {key: value[..., None] if key[0] == 'x' else value for key, value in grey.items()}
    np.savez(tmp_path / 'mnist.npz', **with_axis)
    again = data.load_dataset('MNIST', tmp_path).pixels_train
    assert torch.equal(again, mnist.pixels_train) and again.stride() == mnist.pixels_train.stride()
    np.savez(tmp_path / 'cifar10.npz', **grey)
    with pytest.raises(
        UserError, match='CIFAR10 has 3 channels, the images that were found have 1'
    ):
        data.load_dataset('CIFAR10', tmp_path)


def test_own_folder(tmp_path, arrays):
    folder = data.load_dataset(str(write_folder(tmp_path / 'flowers', arrays)))
    assert (folder.name, folder.class_names) == ('flowers', ('class0', 'class1', 'class2'))
    assert torch.equal(folder.pixels_train.permute(0, 2, 3, 1), torch.from_numpy(arrays['x_train']))
    assert data.load_dataset(str(tmp_path / 'flowers'), im_size=16).shape == (3, 16, 16)


def test_sixteen_bits_are_scaled_and_thirty_two_refused(tmp_path, arrays):
    write_folder(tmp_path / 'deep', arrays)
    deep = np.arange(144, dtype=np.uint16).reshape(12, 12) * 400
    path = tmp_path / 'deep/train/class0/000.png'
    Image.fromarray(deep).save(path)
    assert np.array_equal(read_image(path, None), (deep / 257).round())
    Image.fromarray(deep.astype(np.float32)).save(path.with_suffix('.tif'))
    with pytest.raises(UserError, match='000.tif.*32 bits'):
        data.load_dataset(str(tmp_path / 'deep'))


def test_labels_beyond_the_number_of_images(tmp_path, arrays):
    np.savez(tmp_path / 'far.npz', **arrays | {'y_train': arrays['y_train'] + 2**40})
    with pytest.raises(UserError, match='fewer images than classes'):
        data.load_dataset(str(tmp_path / 'far.npz'))


def test_a_fingerprint_is_that_of_the_content(tmp_path, arrays):
    np.savez(tmp_path / 'a.npz', **arrays)
    np.savez(tmp_path / 'b.npz', **arrays)
    first = data.load_dataset(str(tmp_path / 'a.npz')).fingerprint
    assert data.load_dataset(str(tmp_path / 'b.npz')).fingerprint == first
    arrays['x_test'] = 255 - arrays['x_test']
    np.savez(tmp_path / 'b.npz', **arrays)
    assert data.load_dataset(str(tmp_path / 'b.npz')).fingerprint != first


def test_folder_of_grey_images_with_one_in_colour(tmp_path, arrays):
    grey = {key: value[..., 0] if key[0] == 'x' else value for key, value in arrays.items()}
    write_folder(tmp_path / 'grey', grey)
    assert data.load_dataset(str(tmp_path / 'grey')).shape == (1, 12, 12)
    Image.fromarray(arrays['x_train'][0]).save(tmp_path / 'grey/train/class0/999.png')
    assert data.load_dataset(str(tmp_path / 'grey')).shape == (3, 12, 12)


@pytest.mark.parametrize('name', [name for name in DATASETS if name != 'Digits'])
def test_torchvision_is_asked_to_download(tmp_path, monkeypatch, name, arrays):
    calls = []

    class Fake:
        def __init__(self, root, download, train=None, split=None):
            part = 'train' if train or split == 'train' else 'test'
            calls.append((root, download, part))
            self.data, self.targets = arrays[f'x_{part}'], arrays[f'y_{part}'].reshape(-1).tolist()
            self.labels = np.array(self.targets)
            if name == 'SVHN':
                self.data = self.data.transpose(0, 3, 1, 2)
            elif len(DATASETS[name].mean) == 1:
                self.data = torch.from_numpy(self.data[..., 0])

    monkeypatch.setattr(torchvision.datasets, name, Fake)
    loaded = data.load_dataset(name, tmp_path)
    assert calls == [(str(tmp_path), True, 'train'), (str(tmp_path), True, 'test')]
    assert loaded.shape == (len(DATASETS[name].mean), 12, 12) and loaded.num_classes == 3
    first = torch.from_numpy(arrays['x_train'][0].transpose(2, 0, 1))[: loaded.shape[0]]
    assert torch.equal(loaded.pixels_train[0], first)


def test_no_network_says_where_a_file_is_looked_for(tmp_path, monkeypatch):
    def fail(*args, **keywords):
        raise OSError('no network:\nmirror a\n')

    monkeypatch.setattr(torchvision.datasets, 'SVHN', fail)
    with pytest.raises(UserError, match=r'\(no network: mirror a\).*svhn\.npz.*Digits'):
        data.load_dataset('SVHN', tmp_path)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'y_test': None}, "no array 'y_test'"),
        ({'x_train': np.full((30, 12, 12, 3), -0.5)}, 'x_train has dtype float64'),
        ({'y_train': np.full(30, 0.5)}, 'y_train has dtype float64'),
        ({'y_test': np.array([0, 1, 2, 3, 0, 0])}, 'y_test runs from 0 to 3'),
        ({'y_train': np.repeat([-1, 1, 2], 10)}, 'y_train runs from -1'),
        ({'y_train': np.repeat([0, 2], 15)}, 'class 1 has no training image'),
        ({'y_train': np.arange(29) % 3}, '30 images but 29 labels'),
        ({'x_test': np.zeros((6, 9, 9), np.uint8)}, 'test images are'),
        ({'x_train': np.zeros((30, 12, 12, 2), np.uint8)}, 'must be'),
    ],
)
def test_wrong_archives(tmp_path, arrays, change, message):
    changed = {key: value for key, value in (arrays | change).items() if value is not None}
    np.savez(tmp_path / 'wrong.npz', **changed)
    for im_size in (None, 8):
        with pytest.raises(UserError, match=message):
            data.load_dataset(str(tmp_path / 'wrong.npz'), im_size=im_size)


def test_truncated_archive(tmp_path, arrays):
    path = tmp_path / 'cut.npz'
    np.savez(path, **arrays)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match=r'cut\.npz cannot be read'):
        data.load_dataset(str(path))


def test_wrong_folders(tmp_path, arrays):
    def expect(message):
        with pytest.raises(UserError, match=message):
            data.load_dataset(str(tmp_path))

    expect("has no folder 'train'")
    write_folder(tmp_path, arrays)
    broken = tmp_path / 'train/class1/broken.png'
    broken.write_bytes(b'no image')
    expect('broken.png cannot be read')
    broken.unlink()
    Image.new('RGB', (5, 5)).save(broken)
    expect('broken.png has 5x5 pixels.*--im_size')
    broken.unlink()
    (tmp_path / 'train/empty').mkdir()
    expect('train/empty has no images')
    (tmp_path / 'train/empty').rmdir()
    (tmp_path / 'test/other').mkdir()
    expect("class 'other'")


def test_unknown_name_lists_the_names():
    with pytest.raises(UserError, match="'CIFAR11'.*CIFAR10, CIFAR100"):
        data.load_dataset('CIFAR11')


def test_real_cifar(cifar_path):
    cifar = data.load_dataset('CIFAR10', cifar_path)
    assert (
        cifar.shape == (3, 32, 32) and [len(index) for index in cifar.indices_class] == [5000] * 10
    )
    assert cifar.class_names[8] == 'ship' and len(cifar.labels_test) == 10000
    assert cifar.normalise(cifar.pixels_test).mean().abs() < 0.05
