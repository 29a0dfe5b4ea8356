"""Folders and archives as disks and cameras leave them: links, closed doors, odd EXIF, 16 bits."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dataset.data import load_dataset
from dataset.pictures import read_image
from tests.test_own_data import XT, YT, X, Y, folder, npz, refusal
from utils import silence


def test_links_to_folders_are_followed_once_and_never_upwards(tmp_path):
    root = Path(folder(tmp_path / 'own'))
    plain = load_dataset(str(root)).fingerprint
    cat = root / 'train/cat'
    (cat / 'up').symlink_to(root / 'train')  # has the pictures of dogs
    (cat / 'itself').symlink_to('itself')
    assert load_dataset(str(root)).fingerprint == plain
    (tmp_path / 'more').mkdir()
    Image.fromarray(X[7]).save(tmp_path / 'more/z.png')
    for name in ('more', 'once more'):
        (cat / name).symlink_to(tmp_path / 'more')
    (tmp_path / 'more/back').symlink_to(cat)
    data = load_dataset(str(root))
    assert torch.bincount(data.labels_train).tolist() == [6, 5, 5]
    assert (
        (data.pixels_train[:6] == torch.from_numpy(X[7]).permute(2, 0, 1)).flatten(1).all(1).any()
    )


def test_a_closed_folder_or_file_is_named(tmp_path, monkeypatch):
    root = Path(folder(tmp_path / 'own', inside='deeper'))
    plain, closed = os.scandir, str(root / 'train/cow/deeper')

    def scandir(path):
        if path == closed:
            raise PermissionError(13, 'Permission denied', path)
        return plain(path)

    monkeypatch.setattr(os, 'scandir', scandir)
    assert f'{closed} cannot be read (Permission denied)' in refusal(root)


def test_a_link_to_no_picture_is_a_fault(tmp_path):
    root = Path(folder(tmp_path / 'own'))
    (root / 'train/cat/x.png').symlink_to('nowhere.png')
    os.mkfifo(root / 'test/dog/pipe.jpg')
    text = refusal(root)
    assert '2 faults' in text and 'no such picture' in text and 'no regular file' in text


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)
WORD = b'Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\0\0\0\x04abc\0\0\0\0\0'
BROKEN = b'Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03'


def exif(orientation):
    block = Image.Exif()
    block[0x0112] = orientation
    return block


@pytest.mark.parametrize(
    ('keywords', 'turned'),
    [({'exif': exif(6)}, True), ({'xmp': XMP.encode()}, True), ({'exif': exif(99)}, False),
     ({'exif': exif(0)}, False), ({'exif': WORD}, False), ({'exif': BROKEN}, False)],
    ids=['EXIF', 'XMP', 'beyond 8', '0', 'a word', 'broken'],
)  # fmt: skip
@pytest.mark.parametrize('suffix', ['jpg', 'webp', 'png'])
def test_headers_and_pictures_agree_on_their_size(suffix, keywords, turned, tmp_path, recwarn):
    if suffix == 'png' and 'xmp' in keywords:
        pytest.skip('Pillow writes none')
    silence()
    path = tmp_path / f'own/cat/0.{suffix}'
    root = Path(folder(tmp_path / 'own', ['']))
    for old in root.glob('*/*.png'):
        Image.fromarray(X[0, :8] if not turned else X[0, :, :8]).save(old)
    path.unlink(missing_ok=True)
    Image.fromarray(X[0, :8]).save(path, **keywords)
    assert read_image(path).shape[:2] == ((16, 8) if turned else (8, 16))
    assert load_dataset(str(root)).shape == ((3, 16, 8) if turned else (3, 8, 16))
    assert not recwarn.list


def test_grey_pictures_of_16_bits_are_scaled_in_every_format(tmp_path):
    deep = X[0, ..., 0].astype('>u2') * 257
    (tmp_path / 'x.pgm').write_bytes(b'P5 16 16 65535\n' + deep.tobytes())
    for name in ('x.png', 'x.tif'):
        Image.fromarray(deep.astype('u2')).save(tmp_path / name)
    for path in tmp_path.iterdir():
        assert np.array_equal(read_image(path), X[0, ..., 0]), path


def test_an_empty_test_part_of_rows_is_one_line(tmp_path):
    rows = {'y_train': np.eye(3)[Y], 'x_test': XT[:0], 'y_test': np.eye(3)[YT][:0]}
    assert '0 images but 0 labels in the test part' in refusal(npz(tmp_path / 'own.npz', **rows))
