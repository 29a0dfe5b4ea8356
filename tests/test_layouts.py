"""Sets of other projects: every layout gives the same images and labels."""

import numpy as np
import pytest
import torch
from PIL import Image

from experiment.layouts import hard
from experiment.result import load_result
from utils import UserError

IMAGES = torch.randn(6, 3, 8, 8)
LABELS = torch.tensor([0, 0, 1, 1, 2, 2])
SOFT = torch.nn.functional.one_hot(LABELS).float() * 0.7 + 0.1
LAYOUTS = {
    "the field's": {'data': [[IMAGES, LABELS]], 'accs_all_exps': {'ConvNet': [0.5]}},
    'tuples': {'data': ((IMAGES, LABELS),)},
    'a pair under data': {'data': [IMAGES, LABELS]},
    'a pair': [IMAGES, LABELS],
    'a tuple': (IMAGES, LABELS),
    'by name': {'images': IMAGES, 'labels': LABELS},
    'by another name': {'image_syn': IMAGES, 'label_syn': LABELS},
    'NumPy': {'images': IMAGES.numpy(), 'labels': LABELS.numpy()},
    'labels (N, 1)': [IMAGES, LABELS[:, None]],
    'labels as floats': [IMAGES, LABELS.double()],
    'labels of 16 bits': [IMAGES, LABELS.to(torch.uint16)],
    'labels of 64 bits of NumPy': [IMAGES, LABELS.numpy().astype('u8')],
    'one-hot': [IMAGES, torch.nn.functional.one_hot(LABELS)],
    'one-hot of NumPy': [IMAGES, np.eye(3, dtype=bool)[LABELS]],
    'with gradients': [IMAGES.clone().requires_grad_(), LABELS],
    'soft': [IMAGES, SOFT],
    'arguments of another meaning': {
        'data': [[IMAGES, LABELS]],
        'args': {'norm': 'instance', 'ipc': '10', 'lr_img': torch.ones(1), 'method': 'IDC'},
    },
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_every_layout_is_read(layout, tmp_path):
    torch.save(LAYOUTS[layout], tmp_path / 'set.pt')
    result = load_result(tmp_path / 'set.pt')
    ((images, labels),) = result['data']
    assert torch.equal(images, IMAGES) and not images.requires_grad
    assert torch.equal(hard(labels), LABELS) and hard(labels).dtype is torch.int64
    assert (labels.ndim == 2) == (layout == 'soft' or 'one-hot' in layout)
    if layout.startswith('arguments'):
        assert result['args'] == {'method': 'IDC'}


@pytest.mark.parametrize('name', ['images_best.pt', 'syn.pt'])
def test_labels_in_a_file_beside(name, tmp_path):
    torch.save(IMAGES, tmp_path / name)
    with pytest.raises(UserError, match='no such file of the labels'):
        load_result(tmp_path / name)
    beside = {'images_best.pt': 'labels_best.pt', 'syn.pt': 'syn_labels.pt'}[name]
    torch.save(LABELS, tmp_path / beside)
    ((images, labels),) = load_result(tmp_path / name)['data']
    assert torch.equal(images, IMAGES) and torch.equal(labels, LABELS)


def test_pictures_and_archives(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    for number, (picture, label) in enumerate(zip(pixels, LABELS, strict=True)):
        folder = tmp_path / 'pictures' / f'class {label}'
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f'{number}.png')
    (tmp_path / 'pictures' / '.hidden').mkdir()
    np.savez(tmp_path / 'set.npz', x_train=pixels, y_train=LABELS.numpy().astype('u4'))
    (tmp_path / 'set.NPZ').write_bytes((tmp_path / 'set.npz').read_bytes())
    for path in (tmp_path / 'pictures', tmp_path / 'set.npz', tmp_path / 'set.NPZ'):
        result = load_result(path)
        ((images, labels),) = result['data']
        assert images.dtype is torch.uint8 and images.shape == (6, 3, 8, 8)
        assert torch.equal(images, torch.from_numpy(pixels.transpose(0, 3, 1, 2)))
        assert torch.equal(labels, LABELS)
    with pytest.raises(UserError, match='no set'):
        load_result(tmp_path / 'pictures' / '.hidden')


def test_grey_images_lie_in_memory_alike_whatever_they_are_read_from(tmp_path):
    images, labels = torch.rand(6, 1, 8, 8), LABELS
    torch.save([images, labels], tmp_path / 'set.pt')
    np.savez(tmp_path / 'set.npz', x_train=images.numpy()[:, 0, :, :, None], y_train=labels.numpy())
    ours, theirs = (load_result(tmp_path / f'set.{kind}')['data'][0][0] for kind in ('pt', 'npz'))
    assert torch.equal(ours, theirs)
    assert ours.stride() == theirs.stride()  # of other strides, a network rounds otherwise


@pytest.mark.parametrize(
    'content',
    [[], 5, [5], IMAGES[0], {'data': []}, {'data': [[IMAGES, LABELS], [IMAGES]]},
     [IMAGES, LABELS[:3]], [IMAGES, LABELS, LABELS], {'images': IMAGES},
     {'data': [[IMAGES, LABELS], [IMAGES[:, :1], LABELS]]}],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_set_is_named(content, tmp_path):
    torch.save(content, tmp_path / 'set.pt')
    with pytest.raises(UserError) as error:
        load_result(tmp_path / 'set.pt')
    assert 'set' in str(error.value) and '\n' not in str(error.value)
