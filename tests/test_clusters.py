"""Clusters: every file is a partition within bounds, and stale or foreign files are named."""

import sys
import threading
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dataset.data import Data, load_dataset
from features import clusters as clusters_module
from features import extractor as extractor_module
from features import named
from features.clusters import (
    cluster_path,
    load_clusters,
    make_clusters,
    read_clusters,
)
from features.kmeans import cluster_points, size_bounds
from features.named import ensure_named_clusters, pixel_components
from storage.files import making
from utils import UserError

SIZES = (150, 40, 12)


@pytest.mark.parametrize('balanced', [True, False])
@pytest.mark.parametrize('k', [1, 3, 12])
def test_a_cluster_file_is_a_partition_within_bounds(uneven, tmp_path, k, balanced):
    data, features = uneven
    path = cluster_path(tmp_path, data, k, 2, balanced)
    assert path.name == f'class_idx_uneven_k{k}_2_{balanced}.pt'
    make_clusters(data, features, path, k=k, layer=2, balanced=balanced, facts={'hash': 'abc'})
    plain = torch.load(path, weights_only=True)['clusters']
    assert all(
        type(i) is int for of_class in plain.values() for part in of_class.values() for i in part
    )
    clusters = read_clusters(path, data, 'abc')
    for c, members in enumerate(data.indices_class):
        assert sorted(sum(clusters[c].values(), [])) == members.tolist() and len(clusters[c]) == k
        low, high = size_bounds(len(members), k)
        if balanced:
            assert all(low <= len(part) <= high for part in clusters[c].values())
    summary = clusters_module.facts_of(path)
    assert (
        summary['size_mean'] == pytest.approx(sum(SIZES) / (3 * k)) and len(summary['inertia']) == 3
    )
    assert read_clusters(path, data) == clusters
    with pytest.raises(UserError, match='another extractor'):
        read_clusters(path, data, 'other')


@pytest.mark.parametrize('balanced', [True, False])
def test_clustering_finds_the_groups_and_is_repeatable(balanced, monkeypatch):
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], 20)
    points = np.eye(3)[truth] * 10 + rng.normal(size=(60, 3))
    labels, inertia, silhouette = cluster_points(points, 3, balanced)
    assert (
        all(len(np.unique(labels[truth == group])) == 1 for group in range(3)) and silhouette > 0.7
    )
    centres = np.stack([points[labels == j].mean(0) for j in range(3)])
    assert inertia == pytest.approx(((points - centres[labels]) ** 2).sum(), rel=1e-6)
    assert (cluster_points(points, 3, balanced)[0] == labels).all()
    with warnings.catch_warnings(record=True) as said:
        cluster_points(np.zeros((9, 2)), 3, balanced=False)
    assert not said
    # Of many points it is measured on some.
    monkeypatch.setattr('features.kmeans.SEEN', 30)
    of_some = cluster_points(points, 3, balanced)
    assert (of_some[0] == labels).all() and 0.7 < of_some[2] != silhouette


def test_size_bounds_are_feasible():
    for n in (1, 5, 49, 131, 5000):
        for k in {1, min(2, n), n // 3 + 1, n}:
            low, high = size_bounds(n, k)
            assert low >= 1 and low * k <= n <= high * k
    assert size_bounds(5000, 20) == (200, 300)
    assert size_bounds(140, 5) == (14, 42)  # not 1 to 78


def test_classes_are_clustered_alike_in_one_process_and_in_several(tmp_path):
    rng = np.random.default_rng(2)
    arrays = {'x_test': np.zeros((2, 8, 8), np.uint8), 'y_test': np.array([0, 1])}
    arrays |= {'x_train': np.zeros((5001, 8, 8), np.uint8), 'y_train': np.arange(5001) % 2}
    features = torch.from_numpy(rng.normal(size=(5001, 2)).astype(np.float32))
    data, path = Data('large', arrays), tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=2, layer=0, balanced=False, facts={})
    for c, index in enumerate(data.indices_class):
        labels = cluster_points(features[index].numpy(), 2, balanced=False)[0]
        clusters = read_clusters(path, data)[c]
        assert all(set(clusters[j]) == set(index[labels == j].tolist()) for j in range(2))


def test_members_are_ordered_by_distance_to_their_centre(uneven, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=3, layer=0, balanced=False, facts={})
    for of_class in read_clusters(path, data).values():
        for part in of_class.values():
            points = features[part]
            distances = (points - points.mean(0)).norm(dim=1)
            assert (distances.diff() >= -1e-4).all()


def test_files_of_the_original_are_read(uneven, tmp_path):
    """Read NumPy integers as keys and members, as the original's code writes them."""
    data, _ = uneven
    clusters = {
        np.int64(c): {np.int32(0): index.numpy().tolist()}
        for c, index in enumerate(data.indices_class)
    }
    torch.save(clusters, tmp_path / 'original.pt')
    assert read_clusters(tmp_path / 'original.pt', data)[2][0] == data.indices_class[2].tolist()


def test_facts_beside_a_file_are_checked(uneven, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    facts = {'hash': 'abc', 'data': data.fingerprint}
    make_clusters(data, features, path, k=2, layer=0, balanced=False, facts=facts)
    assert read_clusters(path, data, 'abc')
    make_clusters(
        data, features, path, k=2, layer=0, balanced=False, facts=facts | {'data': 'other'}
    )
    with pytest.raises(UserError, match='made from other pixels of the name uneven'):
        read_clusters(path, data)
    make_clusters(data, features, path, k=2, layer=0, balanced=False, facts={'data': None})
    assert read_clusters(path, data)  # of any copy of the images, as the labels are the same
    plain = torch.load(path, weights_only=True)['clusters']  # a file of the original has no facts
    torch.save(plain, path)
    assert clusters_module.facts_of(path) == {} and read_clusters(path, data, 'abc')


def test_the_extractor_of_other_data_or_epochs_is_named(uneven):
    data, path = uneven[0], Path('resnet.pt')
    extractor_module.check_own(path, {'data': data.fingerprint, 'epochs': 5}, data, 5)
    extractor_module.check_own(path, {'data': None, 'epochs': None}, data, 5)
    with pytest.raises(UserError, match='trained on other pixels'):
        extractor_module.check_own(path, {'data': 'other'}, data, None)
    with pytest.raises(UserError, match='trained for 5 epochs, not --extractor_epochs 7'):
        extractor_module.check_own(path, {'epochs': 5}, data, 7)


def test_two_processes_that_need_one_file_make_it_once(tmp_path, capsys):
    path, seen = tmp_path / 'new' / 'file', []

    def other():
        with making(path) as missing:
            seen.append(missing)

    with making(path) as missing:
        assert missing
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not seen  # it waits
        path.write_text('made')
    thread.join()
    assert seen == [False] and 'waiting for another process' in capsys.readouterr().out
    (tmp_path / 'plain').write_text('')
    with pytest.raises(UserError, match='cannot be written'), making(tmp_path / 'plain' / 'file'):
        pass


def test_the_missing_package_of_balanced_clusters_is_named(uneven, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'k_means_constrained', None)
    flags = {
        'layers': [0], 'ks': [2], 'extractor': None, 'epochs': 1, 'seed': 0, 'precision': 'fp32',
    }  # fmt: skip
    with pytest.raises(UserError, match='k-means-constrained.*--no-norm'):
        clusters_module.ensure_clusters(uneven[0], tmp_path, balanced=True, **flags)


def test_foreign_files_are_named(uneven, digits, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=2, layer=0, balanced=True, facts={})
    for change, message in (
        (lambda stored: stored | {3: {0: [1]}}, 'has 4 classes, numbered from 0; .* has 3, from 0'),
        (lambda stored: {c + 1: stored[c] for c in stored}, 'has 3 classes, numbered from 1'),
        (lambda stored: stored | {0: {0: [1]}}, 'not a partition of class 0'),
        (lambda stored: [1], 'is no cluster file of this project'),
        (lambda stored: stored | {0: {0: [1.5]}}, 'is no cluster file of this project'),
    ):
        stored = torch.load(path, weights_only=True)['clusters']
        torch.save(change(stored), tmp_path / 'changed.pt')
        with pytest.raises(UserError, match=f'changed.pt.*{message}.*another --cluster_path'):
            read_clusters(tmp_path / 'changed.pt', data)
    with pytest.raises(UserError, match='classes'):
        read_clusters(path, digits)
    with pytest.raises(UserError, match='--num_cluster 151'):
        make_clusters(data, features, path, k=151, layer=0, balanced=True, facts={})


def test_a_renamed_file_is_named(uneven, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=2, layer=3, balanced=True, facts={})
    good = {'k': 2, 'layer': 3, 'norm': True}
    assert read_clusters(path, data, wanted=good)
    for name, value in (('k', 7), ('layer', 1), ('norm', False)):
        with pytest.raises(UserError, match=f'clusters of {name} {good[name]}, not {value}'):
            read_clusters(path, data, wanted=good | {name: value})
    torch.save(torch.load(path, weights_only=True)['clusters'], path)  # of the original: no facts
    with pytest.raises(UserError, match='clusters of k 2, not 7'):
        read_clusters(path, data, wanted=good | {'k': 7})


@pytest.mark.parametrize(
    'change',
    [{'layer': None}, {'layer': torch.ones(2)}, {'norm': torch.tensor([True, False])},
     {'k': torch.ones(2)}, {'extractor': {'epochs': torch.ones(2)}}],
)  # fmt: skip
def test_facts_of_another_kind_are_named(change, uneven, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=2, layer=3, balanced=True, facts={})
    stored = torch.load(path, weights_only=True)
    torch.save(stored | {'facts': stored['facts'] | change}, path)
    with pytest.raises(UserError, match='clusters.pt is no cluster file of this project'):
        read_clusters(path, data)


def test_principal_components_equal_numpy(digits):
    ours = pixel_components(digits, 5).double().numpy()
    pixels = digits.images(torch.arange(len(digits.labels_train))).flatten(1).double().numpy()
    left, scale, _ = np.linalg.svd(pixels - pixels.mean(0), full_matrices=False)
    expected = (left * scale)[:, :5][:, ::-1]
    np.testing.assert_allclose(np.abs(ours), np.abs(expected), atol=1e-4)


def test_named_clusters_are_made_once_and_checked(digits, tmp_path, monkeypatch):
    settings = {'lr_net': 0.01, 'batch_train': 256, 'seed': 0, 'precision': 'fp32'}
    ask = partial(ensure_named_clusters, digits, tmp_path, 'PCA', 8, False, **settings)
    first = ask()
    assert (tmp_path / 'class_idx_digits_k8_PCA_False.pt').exists()
    monkeypatch.setattr(named, 'pixel_components', None)
    assert ask() == first and len(first[3]) == 8
    with pytest.raises(UserError, match='more than the largest class'):
        ensure_named_clusters(digits, tmp_path, 'PCA', 500, False, **settings)


def test_a_network_for_clusters_is_trained_by_its_settings(digits, tmp_path):
    settings = {'batch_train': 256, 'seed': 0, 'precision': 'fp32'}
    for lr_net in (0.01, 0.02):  # the second must not read the first one's clusters
        ensure_named_clusters(digits, tmp_path, 'MLP', 2, False, lr_net=lr_net, **settings)
    assert len(list(tmp_path.glob('class_idx_digits_k2_MLP_lr*.pt'))) == 2
    assert len(list(tmp_path.glob('MLP_digits_*.pt'))) == 2


GIVEN = [(3, 5), (3, 10), (3, 15), (3, 20), (3, 25), (0, 20), (1, 20), (2, 20)]  # of the study
GIVEN_FOLDER = Path(__file__).parents[1] / 'docs' / 'clusters'


@pytest.mark.parametrize(('layer', 'k'), GIVEN)
def test_the_clusters_that_come_with_the_project_are_whole(layer, k):
    path = GIVEN_FOLDER / f'class_idx_cifar10_k{k}_{layer}_True.pt'
    clusters, facts = load_clusters(path)
    assert (facts['layer'], facts['k'], facts['norm']) == (layer, k, True)
    assert facts['extractor']['accuracy'] > 0.85 and facts['extractor']['data'] is None
    classes = [list(of_class.values()) for of_class in clusters.values()]
    assert [sum(map(len, parts)) for parts in classes] == [5000] * 10
    assert sorted(i for parts in classes for part in parts for i in part) == list(range(50_000))
    sizes = [len(part) for parts in classes for part in parts]
    fewest, most = size_bounds(5000, k)
    assert len(sizes) == 10 * k and fewest <= min(sizes) <= max(sizes) <= most


@pytest.mark.parametrize(('layer', 'k'), GIVEN)
def test_the_clusters_that_come_with_the_project_are_those_of_cifar10(layer, k, cifar_path):
    data = load_dataset('CIFAR10', cifar_path)
    clusters = read_clusters(cluster_path(GIVEN_FOLDER, data, k, layer, True), data)
    assert {len(of_class) for of_class in clusters.values()} == {k}


def test_no_other_clusters_come_with_the_project():
    assert len(list(GIVEN_FOLDER.iterdir())) == len(GIVEN)
