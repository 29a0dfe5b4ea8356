"""Coresets: every selection against small known answers and brute force; end to end on Digits."""

import itertools

import numpy as np
import pytest
import torch

import main as main_script
from dataset.data import load_dataset
from engine.training import test_accuracy as accuracy_of
from features.kmeans import nearest_to_centres
from features.trained import count_forgetting, trained_on_all
from methods.coresets import Coreset, Herding, herding, kcenter, most_forgotten
from methods.mean import ClassMean
from networks import make_network
from report.cells import CORESETS
from utils import Rng, UserError


def points(num, dim=3):
    """Return random points (num, dim)."""
    return torch.from_numpy(np.random.default_rng(num).normal(size=(num, dim)))


def test_herding_is_greedy_towards_the_mean():
    features = points(12)
    chosen = herding(features, 5).tolist()
    # By brute force: no other next point brings the mean of the chosen nearer.
    for count in range(5):
        before = chosen[:count]
        errors = {
            i: float((features[[*before, i]].mean(0) - features.mean(0)).norm())
            for i in range(12)
            if i not in before
        }
        assert chosen[count] == min(errors, key=errors.get)
    assert len(set(herding(features, 12).tolist())) == 12


def test_herding_takes_the_middle_first_and_then_balances():
    features = torch.tensor([[-4.0], [0.5], [1.0], [5.0], [-2.5]])  # the mean is 0
    assert herding(features, 1).tolist() == [1]


def test_kcenter_covers():
    features = points(10)
    chosen = kcenter(features, 4).tolist()
    for count in range(1, 4):
        distance = torch.cdist(features, features[chosen[:count]]).min(1).values
        assert chosen[count] == int(distance.argmax())
    radius = torch.cdist(features, features[chosen]).min(1).values.max()
    best = min(
        torch.cdist(features, features[list(some)]).min(1).values.max()
        for some in itertools.combinations(range(10), 4)
    )
    assert radius <= 2 * best  # the greedy choice is within twice the optimum (Gonzalez, 1985)
    assert len(set(kcenter(features[:3], 3).tolist())) == 3


def test_kcenter_takes_no_point_twice():
    assert sorted(kcenter(torch.zeros(4, 2), 4).tolist()) == [0, 1, 2, 3]


def test_kmeans_takes_the_middle_of_each_group():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [20, 0], [0, 20]])
    offsets = np.concatenate([[[0, 0]], rng.normal(size=(9, 2))])
    offsets[1:] -= offsets[1:].mean(0)
    features = torch.from_numpy((centres[:, None] + offsets).reshape(-1, 2))
    assert sorted(nearest_to_centres(features, 3).tolist()) == [0, 10, 20]
    assert len(set(nearest_to_centres(torch.zeros(5, 2), 3).tolist())) == 3


def test_forgetting_is_counted_from_right_to_wrong():
    right = torch.tensor([[1, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0]]).bool()
    assert count_forgetting(right).tolist() == [2, 0, 0, 1]
    assert most_forgotten(torch.tensor([2, 5, 0, 5, 1]), 3).tolist() == [1, 3, 0]


def test_a_random_coreset_depends_on_its_stream(digits):
    first, again, other = (
        Coreset(digits, None, ipc=3, factor=1, rng=Rng('cpu', seed)).synset for seed in (0, 0, 1)
    )
    assert torch.equal(first[0], again[0]) and not torch.equal(first[0], other[0])
    assert first[1].tolist() == [c for c in range(10) for _ in range(3)]


def test_features_of_a_class_choose_within_it(few_digits, tmp_path):
    digits = load_dataset(str(few_digits))
    net = make_network('ResNet18BN', 1, 10, (8, 8))
    torch.save({'net': net.state_dict(), 'accuracy': 0.1}, tmp_path / 'resnet.pt')
    settings = {'cluster_path': str(tmp_path), 'extractor': str(tmp_path / 'resnet.pt')}
    settings |= {'extractor_epochs': None, 'seed': 0, 'precision': 'fp32', 'compile': False}
    settings |= {'feature_net': None, 'lr_net': 0.01, 'batch_train': 256}
    coreset = Herding(digits, None, ipc=2, factor=1, rng=Rng('cpu', 0), **settings)
    with torch.inference_mode():
        members = digits.indices_class[7]
        expected = members[herding(net.eval().embed(digits.images(members)), 2)]
    assert torch.equal(coreset.synset[0][14:16], digits.images(expected))
    assert coreset.synset[1].tolist() == [c for c in range(10) for _ in range(2)]


def test_features_of_a_network_of_ones_own(digits, tmp_path):
    settings = {'cluster_path': str(tmp_path), 'extractor': None, 'extractor_epochs': None}
    settings |= {'seed': 0, 'feature_net': 'ConvNetD1', 'lr_net': 0.01, 'batch_train': 256}
    settings |= {'precision': 'fp32', 'compile': False}
    coreset = Herding(digits, None, ipc=2, factor=1, rng=Rng('cpu', 0), **settings)
    net, events = trained_on_all(digits, str(tmp_path), 'ConvNetD1', 0.01, 256, 0, 'fp32', False)
    assert len(list(tmp_path.glob('*.pt'))) == 1 and len(events) == len(digits.labels_train)
    assert accuracy_of(net, digits) > 0.8
    members = digits.indices_class[7]
    with torch.inference_mode():
        expected = members[herding(net.embed(digits.images(members)), 2)]
    assert torch.equal(coreset.synset[0][14:16], digits.images(expected))


def test_a_network_of_other_data_is_named(digits, uneven, tmp_path):
    settings = str(tmp_path), 'MLP', 0.01, 256, 0, 'fp32', False
    trained_on_all(digits, *settings)
    made = next(tmp_path.glob('*.pt'))
    made.rename(tmp_path / made.name.replace('digits', 'uneven'))
    with pytest.raises(UserError, match='was trained on other data'):
        trained_on_all(uneven[0], *settings)


@pytest.mark.parametrize('method', CORESETS)
def test_coresets_end_to_end(method, few_digits, tmp_path, capsys):
    line = f'--method {method} --dataset {few_digits} --model ConvNetD1 --ipc 3'
    line += f' --num_exp 1 --num_eval 2 --epoch_eval_train 60 --save_path {tmp_path}'
    line += f' --cluster_path {tmp_path}'
    if method in ('herding', 'kcenter', 'kmeans'):
        line += ' --extractor_epochs 1'
    main_script.main(line.split())
    assert 'ConvNetD1 ' in capsys.readouterr().out.splitlines()[-1]
    result = torch.load(next(tmp_path.glob('*/res_*.pt')), weights_only=True)
    assert 'Iteration' not in result['args'] and len(result['data'][0][1]) == 30
    assert np.mean(result['accs_all_exps']['ConvNetD1']) > 0.3
    main_script.main(line.split())
    assert 'is finished' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--method random --ipc 500', 'is more than the largest class'),
        (
            '--method random --Iteration 5',
            '--Iteration does nothing for --method random; use it with DC',
        ),
        ('--method random --lr_img 5', '--lr_img does nothing for --method random; use it with DC'),
        ('--method mean --ipc 500', 'is more than the largest class'),
        ('--method random --extractor x.pt', '--extractor does nothing for --method random'),
        ('--method random --feature_net MLP', 'CAFE, KIP, herding, kcenter, kmeans'),
        ('--method herding --num_cluster 5', '--num_cluster does nothing for --method herding'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    line = '--dataset Digits --model MLP --num_eval 1 --epoch_eval_train 1'
    line += f' --save_path {tmp_path} {flags}'
    with pytest.raises(SystemExit) as exit_:
        main_script.main(line.split())
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_class_means_are_means_of_random_parts(digits):
    images, labels = ClassMean(digits, None, ipc=1, rng=Rng('cpu', 0)).synset
    for c, members in enumerate(digits.indices_class):
        assert torch.allclose(images[c], digits.images(members).mean(0), atol=1e-5)
    images, labels = ClassMean(digits, None, ipc=3, rng=Rng('cpu', 0)).synset
    assert labels.tolist() == [c for c in range(10) for _ in range(3)]
    # Parts of about equal size: their mean is nearly the class mean.
    members = digits.indices_class[4]
    parts = images[12:15].mean(0) - digits.images(members).mean(0)
    assert parts.abs().max() < 0.05 and not torch.allclose(images[12], images[13])
