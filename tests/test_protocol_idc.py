"""Protocol idc: CutMix against NumPy, its augmentation, its schedule, and where it is named."""

import numpy as np
import pytest
import torch
from conftest import error_of
from torch import nn

import main as main_script
import main_eval
from dataset.composed import Composed
from dataset.cutmix import CutMix, box
from dataset.readers import dsa_strategy
from engine.training import train_in_thirds
from evaluation.evaluate import evaluate_network
from evaluation.protocol import IDC_ONE_OF, batch_of, protocol, protocol_of, strategy_of
from evaluation.sets import assumed_protocol
from experiment.result import load_result
from report.cross_architecture import NetworksTable
from utils import Rng

SHORT = '--dataset Digits --model MLP --num_exp 1 --num_eval 1 --epoch_eval_train 2'


def test_a_box_has_the_area_that_is_replaced_and_is_cut_off_at_edges():
    for share, centre in ((0.75, 16), (0.5, 20), (0.9, 16), (1.0, 3)):
        start, end = box(32, share, centre)
        assert end - start == int(32 * np.sqrt(1 - share)) // 2 * 2
    assert box(32, 0.75, 2) == (0, 10) and box(32, 0.75, 31) == (23, 32)
    assert box(8, 0.0, 4) == (0, 8)


def test_cutmix_equals_numpy():
    """Each pixel is of the image or of its partner, and the label has the partner's share."""
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 1, 8, 8) * 1.0
    labels, mix = torch.tensor([0, 1, 2, 0, 1, 2]), CutMix(3, Rng('cpu', 0))
    mixed_batches = 0
    for _ in range(400):
        mixed, targets = (part.numpy() for part in mix(images, labels))
        own = np.eye(3)[labels.numpy()]
        if np.array_equal(mixed, images.numpy()) and np.array_equal(targets, own):
            continue
        mixed_batches += 1
        for n in range(6):
            values, counts = np.unique(mixed[n], return_counts=True)
            expected = counts / 64 @ own[values.astype(int)]
            np.testing.assert_allclose(targets[n], expected, atol=1e-6)
        # One box for all: where the images differ from their own is the same place.
        places = mixed != images.numpy()
        changed = places[places.any((1, 2, 3))]
        assert (changed == changed[:1]).all()
    assert 130 < mixed_batches < 230  # half of them, less those whose box is empty


def test_cutmix_takes_soft_labels():
    soft = torch.softmax(torch.randn(4, 3), 1)
    _, targets = CutMix(3, Rng('cpu', 1))(torch.randn(4, 1, 8, 8), soft)
    assert torch.allclose(targets.sum(1), torch.ones(4))


def test_composed_applies_all_in_turn_or_all_and_one():
    images, rng = torch.randn(5, 3, 16, 16), Rng('cpu', 3)
    every = Composed('color_crop_cutout', (3, 16, 16), rng)
    state = rng.state_dict()
    seen = every.draw()(images)
    rng.load_state_dict(state)
    expected = images
    for name in ('color', 'crop', 'cutout'):
        expected = every.operation(name, 1)(expected)
    assert torch.equal(seen, expected)
    # Of the three one is drawn, all equally likely; flip and color are always there.
    some = Composed('color_crop_flip_scale_rotate', (3, 16, 16), rng, IDC_ONE_OF)
    drawn = []
    some.operation = lambda name, num: drawn.append((name, num)) or (lambda batch: batch)
    for _ in range(300):
        some.draw(5)
    names = [name for name, num in drawn if num == 5]
    assert names.count('color') == names.count('flip') == 300 and 'cutout' not in names
    assert all(70 < names.count(name) < 130 for name in IDC_ONE_OF)


@pytest.mark.parametrize(('epochs', 'falls'), [(1000, (666, 833)), (6, (4, 5)), (1, ())])
def test_schedule(monkeypatch, epochs, falls):
    seen = []

    def spy(step, *rest):
        group = step.optimizer.param_groups[0]
        seen.append((step.optimizer, group['lr'], group['momentum'], group['weight_decay']))

    monkeypatch.setattr('engine.training.train_epoch', spy)
    train_in_thirds(
        nn.Linear(2, 2), None, None, epochs=epochs, lr=0.01, batch_size=4, rng=Rng('cpu', 0)
    )
    expected = [0.01 * 0.2 ** sum(e >= fall for fall in falls) for e in range(epochs)]
    assert [lr for _, lr, *_ in seen] == pytest.approx(expected)
    assert {tuple(rest) for _, _, *rest in seen} == {(0.9, 5e-4)}
    assert len({id(optimizer) for optimizer, *_ in seen}) == 1  # the momentum stays


def test_names_and_settings():
    made = {'dataset': 'CIFAR10', 'protocol': 'idc', 'batch_train': 256}
    assert protocol_of(made) == 'idc' and batch_of(made) == 64
    assert strategy_of(made) == 'color_crop_flip_scale_rotate'
    assert strategy_of(made | {'dataset': 'MNIST'}) == 'color_crop_scale_rotate'
    assert strategy_of(made | {'dsa_strategy': 'flip'}) == 'color_crop_flip_scale_rotate'
    assert protocol_of({'dsa_strategy': 'flip'}) == 'dsa' and protocol_of({}) == 'dc'
    how = protocol('ConvNet', 'CIFAR10', strategy_of(made), None, 'idc')
    assert list(how.values()) == ['idc', 'color_crop_flip_scale_rotate', 1000]
    assert batch_of({'batch_train': 256}) == 256


def test_training_learns(digits):
    index = torch.cat([members[:5] for members in digits.indices_class])
    accuracy = evaluate_network(
        digits.images(index), digits.labels_train[index], digits, 'ConvNetD1', Rng('cpu', 1),
        strategy=dsa_strategy('Digits').replace('cutout_', ''), epochs=60, lr_net=0.01,
        batch_train=64, precision='fp32', name='idc',
    )  # fmt: skip
    assert accuracy > 0.5  # chance is 0.1


def test_a_set_is_evaluated_by_what_its_run_says(tmp_path, capsys):
    main_script.main(f'{SHORT} --method random --protocol idc --save_path {tmp_path}/a'.split())
    (path,) = tmp_path.glob('a/*/res_*.pt')
    first = load_result(path)
    assert first['args']['protocol'] == 'idc' and 'protocol=idc' in path.parent.name
    capsys.readouterr()
    line = SHORT.replace('--num_exp 1 ', '')
    main_eval.main(f'{line} --synset {path} --save_path {tmp_path}/b'.split())
    output = capsys.readouterr().out
    assert 'evaluated by protocol idc, as it was made; that of its method is dc' in output
    (again,) = tmp_path.glob('b/*/res_*.pt')
    assert load_result(again)['accs_all_exps'] == first['accs_all_exps']
    # Typed, it is no surprise; and protocols never share a row.
    main_eval.main(f'{line} --synset {path} --protocol dc --save_path {tmp_path}/c'.split())
    assert 'as it was made;' not in capsys.readouterr().out
    table = NetworksTable([path, next(tmp_path.glob('c/*/res_*.pt'))])
    assert sorted(name.rsplit(', ')[-1] for name in table.names) == ['dc', 'idc']
    error = error_of(main_eval, f'{line} --synset {path} --batch_train 32'.split(), capsys)
    assert '--batch_train 32 does nothing with protocol idc' in error


@pytest.mark.parametrize('name', ['IDC', 'DREAM'])
def test_sets_of_other_projects(name, tmp_path):
    expected = 'idc', f'as published for {name}'
    assert assumed_protocol(tmp_path / f'res_{name}_CIFAR10_ConvNet_1ipc.pt', {}) == expected
