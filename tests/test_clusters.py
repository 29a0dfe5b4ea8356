"""Batch sampling: clusters are a partition within bounds, draws have the expected distribution, BS scripts
agree."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from scipy.stats import chisquare

import main as main_script
import main_BS
import main_cluster
from clusters import cluster_path, cluster_points, make_clusters, read_clusters, size_bounds
from data import Data
from device import Rng
from errors import UserError
from extractor import default_epochs, layer_features, load_extractor
from figures import clusters as cluster_figure
from figures import method as method_figure
from methods.sampling import DRAWS, ClusterSampler, shares
from networks import make_network
from storage import label_of

SIZES = (150, 40, 12)


@pytest.fixture(scope='module')
def uneven():
    """Three classes of unequal size, shuffled, and features in three well separated groups a class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(3), SIZES))
    pixels = rng.integers(0, 256, (len(labels), 8, 8), dtype=np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels[:30], 'y_test': labels[:30]}
    centres = rng.normal(size=(3, 5)) * 10
    features = centres[rng.integers(0, 3, len(labels))] + rng.normal(size=(len(labels), 5))
    return Data('uneven', arrays), torch.from_numpy(features).float()


@pytest.mark.parametrize('balanced', [True, False])
@pytest.mark.parametrize('k', [1, 3, 12])
def test_a_cluster_file_is_a_partition_within_bounds(uneven, tmp_path, k, balanced):
    data, features = uneven
    path = cluster_path(tmp_path, data, k, 2, balanced)
    assert path.name == f'class_idx_uneven_k{k}_2_{balanced}.pt'
    make_clusters(data, features, path, k=k, layer=2, balanced=balanced, facts={'hash': 'abc'})
    plain = torch.load(path, weights_only=True)
    assert all(type(i) is int for of_class in plain.values() for part in of_class.values() for i in part)
    clusters = read_clusters(path, data, 'abc')
    for c, members in enumerate(data.indices_class):
        assert sorted(sum(clusters[c].values(), [])) == members.tolist() and len(clusters[c]) == k
        low, high = size_bounds(len(members), k)
        if balanced:
            assert all(low <= len(part) <= high for part in clusters[c].values())
    summary = json.loads(path.with_suffix('.json').read_text())
    assert summary['size_mean'] == pytest.approx(sum(SIZES) / (3 * k)) and len(summary['inertia']) == 3
    assert read_clusters(path, data) == clusters
    with pytest.raises(UserError, match='another extractor'):
        read_clusters(path, data, 'other')


@pytest.mark.parametrize('balanced', [True, False])
def test_clustering_finds_the_groups_and_is_repeatable(balanced):
    rng = np.random.default_rng(1)
    truth = np.repeat([0, 1, 2], 20)
    points = np.eye(3)[truth] * 10 + rng.normal(size=(60, 3))
    labels, inertia, silhouette = cluster_points(points, 3, balanced)
    assert all(len(np.unique(labels[truth == group])) == 1 for group in range(3)) and silhouette > 0.7
    centres = np.stack([points[labels == j].mean(0) for j in range(3)])
    assert inertia == pytest.approx(((points - centres[labels]) ** 2).sum(), rel=1e-6)
    assert (cluster_points(points, 3, balanced)[0] == labels).all()


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


@pytest.fixture
def sampler_of(uneven):
    """Return (sampler, clusters of class 0) with clusters of 100, 40 and 10 members."""
    data, _ = uneven
    members = data.indices_class[0].tolist()
    clusters = {c: {0: index.tolist()} for c, index in enumerate(data.indices_class)}
    clusters[0] = {0: members[:100], 1: members[100:140], 2: members[140:]}
    return lambda draw, mix=None: ClusterSampler(data, clusters, draw, mix), clusters[0]


@pytest.mark.parametrize(('draw', 'expected'), [('cluster', [1 / 3] * 3), ('proportional', [100, 40, 10])])
def test_one_cluster_with_the_expected_frequency(sampler_of, draw, expected):
    make, clusters = sampler_of
    sampler, rng, counts = make(draw), Rng('cpu', 0), np.zeros(3)
    for _ in range(900):
        index = set(sampler.draw(0, 32, rng).tolist())
        (chosen,) = [j for j, part in clusters.items() if index <= set(part)]
        assert len(index) == min(32, len(clusters[chosen]))
        counts[chosen] += 1
    expected = np.array(expected) / np.sum(expected) * 900
    assert chisquare(counts, expected).pvalue > 0.001


def test_members_of_a_cluster_are_drawn_evenly(sampler_of):
    make, clusters = sampler_of
    sampler, rng, counts = make('cluster'), Rng('cpu', 1), np.zeros(100)
    for _ in range(2000):
        index = sampler.draw(0, 10, rng)
        if int(index[0]) in clusters[0]:
            counts[[clusters[0].index(int(i)) for i in index]] += 1
    assert chisquare(counts).pvalue > 0.001


def test_stratified_shares_are_exact(sampler_of):
    make, clusters = sampler_of
    index = make('stratified').draw(0, 30, Rng('cpu', 0)).tolist()
    assert [len(set(index) & set(part)) for part in clusters.values()] == [20, 8, 2] and len(set(index)) == 30
    assert shares([100, 40, 10], 31) == [21, 8, 2] and shares([3, 3], 100) == [3, 3]
    for num in range(1, 150):
        assert sum(shares([100, 40, 10], num)) == num


def test_centroid_takes_the_nearest_of_every_cluster(sampler_of):
    make, clusters = sampler_of
    assert (
        make('centroid').draw(0, 15, Rng('cpu', 0)).tolist()
        == clusters[0][:10] + clusters[1][:4] + clusters[2][:1]
    )
    assert len(make('centroid').draw(0, 2, Rng('cpu', 0))) == 2


def test_equal_batch_has_the_sizes_of_cluster_but_draws_from_the_whole_class(sampler_of):
    make, _ = sampler_of
    draws = {
        name: [make(name).draw(0, 64, rng) for rng in (Rng('cpu', i) for i in range(60))]
        for name in ('cluster', 'equal')
    }
    assert [len(index) for index in draws['equal']] == [len(index) for index in draws['cluster']]
    assert len(torch.cat(draws['equal']).unique()) == 150


def test_mix_switches_to_uniform_batches(sampler_of):
    make, clusters = sampler_of
    sampler, rng = make('cluster', 300), Rng('cpu', 0)
    early = set(sampler.draw(0, 10, rng, 300).tolist())
    assert any(early <= set(part) for part in clusters.values())
    later = torch.cat([sampler.draw(0, 10, rng, 301) for _ in range(50)]).tolist()
    assert all(set(later) & set(part) for part in clusters.values())
    assert len(sampler.draw(0, 140, rng, 301)) == 140  # more than any cluster has


@pytest.mark.parametrize('draw', [*DRAWS, 'equal'])
def test_every_draw_is_of_the_class_without_repetition(sampler_of, uneven, draw):
    make, _ = sampler_of
    for num in (1, 7, 500):
        index = make(draw).draw(0, num, Rng('cpu', num))
        assert len(index.unique()) == len(index) <= num and (uneven[0].labels_train[index] == 0).all()


def test_files_of_the_original_are_read(uneven, tmp_path):
    """NumPy integers as keys and members, as the original's code writes them."""
    data, _ = uneven
    clusters = {
        np.int64(c): {np.int32(0): index.numpy().tolist()} for c, index in enumerate(data.indices_class)
    }
    torch.save(clusters, tmp_path / 'original.pt')
    assert read_clusters(tmp_path / 'original.pt', data)[2][0] == data.indices_class[2].tolist()


def test_foreign_files_are_named(uneven, digits, tmp_path):
    data, features = uneven
    path = tmp_path / 'clusters.pt'
    make_clusters(data, features, path, k=2, layer=0, balanced=True, facts={})
    for change, message in (
        (lambda stored: stored | {3: {0: [1]}}, 'has 4 classes'),
        (lambda stored: stored | {0: {0: [1]}}, 'not a partition of class 0'),
        (lambda stored: [1], 'does not hold'),
    ):
        torch.save(change(torch.load(path, weights_only=True)), tmp_path / 'changed.pt')
        with pytest.raises(UserError, match=f'changed.pt.*{message}.*main_cluster.py'):
            read_clusters(tmp_path / 'changed.pt', data)
    with pytest.raises(UserError, match='classes'):
        read_clusters(path, digits)
    with pytest.raises(UserError, match='--num_cluster 13'):
        make_clusters(data, features, path, k=13, layer=0, balanced=True, facts={})


BS = '--dataset Digits --model ConvNetD1 --Iteration 4 --num_exp 1 --num_eval 1 --epoch_eval_train 2'
CLUSTERS = ['--num_cluster', '3', '--layer_idx', '3', '--extractor_epochs', '1']


@pytest.fixture(scope='module')
def clustered(tmp_path_factory):
    """A folder with the extractor and the clusters of Digits, made by main_cluster.py."""
    folder = tmp_path_factory.mktemp('clustering')
    flags = '--dataset Digits --layer_idx 2 3 --num_cluster 3 5 --extractor_epochs 1'
    main_cluster.main([*flags.split(), '--cluster_path', str(folder)])
    return folder


def test_main_cluster_makes_all_from_one_pass(clustered, digits, capsys):
    files = sorted(path.name for path in clustered.glob('*.pt'))
    assert files == sorted(
        [f'class_idx_digits_k{k}_{layer}_True.pt' for k in (3, 5) for layer in (2, 3)]
        + ['resnet18_digits.pt']
    )
    net, facts = load_extractor(clustered / 'resnet18_digits.pt', digits)
    assert 0.1 < facts['accuracy'] <= 1 and facts['dataset'] == 'Digits' and len(facts['hash']) == 64
    features = layer_features(net, digits, 'fp32')
    assert [part.shape for part in features] == [(1347, width) for width in (64, 128, 256, 512)]
    index = torch.tensor([0, 700, 1346])
    assert torch.allclose(features[3][index], net.embed(digits.images(index)), atol=1e-4)


def result(path):
    return torch.load(next(path.glob('*/res_*.pt')), weights_only=True)


def test_picture_of_the_clusters(clustered, tmp_path, capsys):
    flags = ['--dataset', 'Digits', '--layer_idx', '3', '--num_cluster', '5', '--class_idx', '9']
    cluster_figure.main([*flags, '--cluster_path', str(clustered), '--out', str(tmp_path / 'nine.png')])
    assert (tmp_path / 'nine.png').stat().st_size > 20_000


def test_picture_of_the_method(clustered, tmp_path, capsys):
    flags = [*CLUSTERS, '--cluster_path', str(clustered)]
    main_BS.main([*BS.split(), *flags, '--save_path', str(tmp_path)])
    file, out = next(tmp_path.glob('*/res_*.pt')), tmp_path / 'method.png'
    method_figure.main([str(file), '--dataset', 'Digits', *flags, '--class_idx', '3', '--out', str(out)])
    assert plt.imread(out).shape[:2] == (750, 1590) and plt.imread(out).std() > 0.1


@pytest.mark.parametrize(
    ('args', 'label'),
    [
        ({'method': 'DC', 'draw': 'cluster', 'mix': None, 'equal_batch': False}, 'DC'),
        ({'method': 'DC', 'draw': 'cluster', 'equal_batch': True}, 'DC equal batch'),
        ({'method': 'BS-DSA', 'draw': 'stratified', 'mix': None}, 'BS-DSA stratified'),
        ({'method': 'BS', 'draw': 'cluster', 'mix': 300}, 'BS mix 300'),
        ({'synset': 'random'}, 'random'),
    ],
)
def test_labels_tell_samplers_apart(args, label):
    assert label_of(args) == label


def test_main_BS_is_main_with_method_BS(clustered, tmp_path, capsys):
    flags = [*BS.split(), *CLUSTERS, '--cluster_path', str(clustered), '--save_path']
    main_BS.main([*flags, str(tmp_path / 'a'), '--method', 'DC'])
    main_script.main([*flags, str(tmp_path / 'b'), '--method', 'BS'])
    a, b = result(tmp_path / 'a'), result(tmp_path / 'b')
    assert torch.equal(a['data'][0][0], b['data'][0][0]) and a['accs_all_exps'] == b['accs_all_exps']
    main_script.main([*BS.split(), '--save_path', str(tmp_path / 'c')])
    assert not torch.equal(result(tmp_path / 'c')['data'][0][0], b['data'][0][0])
    log = json.loads(next(tmp_path.glob('a/*/log.jsonl')).read_text().splitlines()[1])
    assert 20 < log['batch_real'] < 100  # about n/k = 45 of 135
    main_BS.main([*flags, str(tmp_path / 'd'), '--method', 'DSA'])
    assert result(tmp_path / 'd')['args']['method'] == 'BS-DSA'


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--num_cluster 0', 'at least 1'),
        ('--num_cluster 500', '--num_cluster 500 is more than class'),
        ('--layer_idx 4', 'choose from'),
        ('--mix -1', 'at least 0'),
        ('--draw nearest', 'stratified'),
        ('--extractor nowhere.pt', 'nowhere.pt: no such extractor'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    for path in (tmp_path, tmp_path / 'clusters'):
        with pytest.raises(SystemExit) as exit_:
            main_BS.main([*BS.split(), *flags.split(), '--save_path', str(path), '--cluster_path', str(path)])
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count('\n') == 1


@pytest.mark.parametrize(
    ('device', 'num', 'epochs'), [('cpu', 50_000, 5), ('cpu', 1347, 10), ('cuda', 1347, 30)]
)
def test_epochs_of_the_extractor_fit_device_and_data(device, num, epochs):
    data = SimpleNamespace(device=torch.device(device), labels_train=range(num))
    assert default_epochs(data) == epochs


def test_an_extractor_of_another_shape_is_refused(digits, tmp_path):
    torch.save(make_network('ResNet18BN', 3, 10, (8, 8)).state_dict(), tmp_path / 'colour.pt')
    with pytest.raises(UserError, match='colour.pt is not a ResNet18.*1 channels and 10 classes'):
        load_extractor(tmp_path / 'colour.pt', digits)


@pytest.mark.parametrize('script', [main_cluster, main_BS])
def test_clusters_of_another_extractor_are_named(script, clustered, tmp_path, capsys):
    for path in clustered.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = torch.load(tmp_path / 'resnet18_digits.pt', weights_only=True)
    torch.save(weights | {'accuracy': 0.5}, tmp_path / 'resnet18_digits.pt')
    with pytest.raises(SystemExit):
        flags = BS.split() if script is main_BS else ['--dataset', 'Digits']
        script.main([*flags, *CLUSTERS, '--cluster_path', str(tmp_path), '--save_path', str(tmp_path)])
    assert 'was made with another extractor' in capsys.readouterr().err


def test_equal_batch_gives_dc_the_batch_sizes_of_bs(clustered, tmp_path, capsys):
    flags = [*BS.split(), *CLUSTERS, '--cluster_path', str(clustered), '--save_path']
    main_script.main([*flags, str(tmp_path / 'bs'), '--method', 'BS'])
    main_script.main([*flags, str(tmp_path / 'equal'), '--method', 'DC', '--equal_batch'])
    sizes = [
        [json.loads(line).get('batch_real') for line in next(tmp_path.glob(f'{name}/*/log.jsonl')).open()]
        for name in ('bs', 'equal')
    ]
    assert sizes[0] == sizes[1]
    assert not torch.equal(result(tmp_path / 'bs')['data'][0][0], result(tmp_path / 'equal')['data'][0][0])


def test_a_paused_bs_iteration_goes_on_with_the_same_batches(make_method, uneven):
    data, _ = uneven
    clusters = {
        c: dict(enumerate(part.tolist() for part in index.chunk(3)))
        for c, index in enumerate(data.indices_class)
    }
    sampler = ClusterSampler(data, clusters, 'cluster', mix=1)  # the last iteration sees uniform batches
    straight, paused = (make_method(data=data, sampler=sampler, outer_loop=2) for _ in range(2))
    expected = [straight.step() for _ in range(3)]
    logs = []
    while len(logs) < 3:
        log = paused.step(pause=lambda: True)
        state = paused.state_dict()
        paused = make_method(data=data, sampler=sampler, outer_loop=2, seed=9)
        paused.load_state_dict(state)
        logs += [log] if log else []
    assert logs == expected and torch.equal(paused.image_syn, straight.image_syn)


def test_cluster_flags_need_a_clustered_method(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main_script.main([*BS.split(), '--num_cluster', '5', '--save_path', str(tmp_path)])
    assert '--num_cluster does nothing for --method DC' in capsys.readouterr().err
