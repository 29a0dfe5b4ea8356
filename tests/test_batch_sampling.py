"""Batch sampling by its scripts: extractor, clusters, main_BS.py and main.py agree, mistakes are
one line.
"""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import error_of
from matplotlib import pyplot as plt

import main as main_script
import main_BS
import main_cluster
from dataset.data import load_dataset
from engine.training import test_accuracy as accuracy_of
from experiment.result import label_of
from features.extractor import layer_features, load_extractor
from features.fine_tuning import default_epochs
from features.given import given_clusters
from figures import clusters as cluster_figure
from figures import diagram
from networks import make_network
from utils import UserError

BS = '--model ConvNetD1 --Iteration 4 --num_exp 1 --num_eval 1 --epoch_eval_train 2'
DIGITS = ['--dataset', 'Digits', *BS.split()]
CLUSTERS = ['--num_cluster', '3', '--layer_idx', '3', '--extractor_epochs', '1']
FILE = 'class_idx_few_k3_3_True.pt'


@pytest.fixture(scope='module')
def clustered(few_digits, tmp_path_factory):
    """A folder with the extractor and the clusters of few digits, made by main_cluster.py."""
    folder = tmp_path_factory.mktemp('clustering')
    flags = f'--dataset {few_digits} --layer_idx 2 3 --num_cluster 3 5 --extractor_epochs 1'
    main_cluster.main([*flags.split(), '--cluster_path', str(folder)])
    return folder


@pytest.fixture
def words(clustered, few_digits):
    """Words of a short run on these clusters."""
    data = ['--dataset', str(few_digits), '--cluster_path', str(clustered)]
    return [*data, *BS.split(), *CLUSTERS]


def test_main_cluster_makes_all_from_one_pass(clustered, few_digits, capsys):
    data = load_dataset(str(few_digits))
    files = sorted(path.name for path in clustered.glob('*.pt'))
    assert files == sorted(
        [f'class_idx_few_k{k}_{layer}_True.pt' for k in (3, 5) for layer in (2, 3)]
        + ['resnet18_few.pt']
    )
    net, facts = load_extractor(clustered / 'resnet18_few.pt', data)
    assert facts['accuracy'] == pytest.approx(accuracy_of(net, data), abs=0.02)  # measured in bf16
    assert facts['dataset'] == 'few' and len(facts['hash']) == 64
    features = layer_features(net, data, 'fp32')
    assert [part.shape for part in features] == [(120, width) for width in (64, 128, 256, 512)]
    index = torch.tensor([0, 70, 119])
    assert torch.allclose(features[3][index], net.embed(data.images(index)), atol=1e-4)


def result(path):
    return torch.load(next(path.glob('*/res_*.pt')), weights_only=True)


def test_picture_of_the_clusters(clustered, few_digits, tmp_path, capsys):
    flags = ['--dataset', str(few_digits), '--layer_idx', '3', '--num_cluster', '5']
    flags += ['--class_idx', '9']
    cluster_figure.main(
        [*flags, '--cluster_path', str(clustered), '--out', str(tmp_path / 'nine.png')]
    )
    assert (tmp_path / 'nine.png').stat().st_size > 20_000


def test_picture_of_the_method(words, tmp_path, capsys):
    main_BS.main([*words, '--save_path', str(tmp_path)])
    file, out = next(tmp_path.glob('*/res_*.pt')), tmp_path / 'diagram.png'
    flags = [*words[:4], *CLUSTERS, '--class_idx', '3', '--out', str(out)]
    diagram.main([str(file), *flags])
    assert plt.imread(out).shape[:2] == (750, 1590) and plt.imread(out).std() > 0.1


@pytest.mark.parametrize(
    ('args', 'label'),
    [
        ({'method': 'DC', 'draw': 'uniform'}, 'DC'),
        ({'method': 'DC', 'draw': 'equal'}, 'DC equal'),
        ({'method': 'DSA', 'draw': 'stratified', 'mix': None}, 'BS-DSA stratified'),
        ({'method': 'DC', 'draw': 'cluster', 'mix': 300}, 'BS mix 300'),
        ({'method': 'DC', 'draw': 'uniform', 'level': 'inter', 'reduce': 'mask'}, 'DC mask inter'),
        ({'synset': 'x/set.pt', 'made_by': {'method': 'DM', 'draw': 'cluster'}}, 'BS-DM'),
        ({'synset': 'x/set.pt', 'made_by': {}}, 'x/set.pt'),
        ({'method': 'herding'}, 'herding'),
        ({'synset': 'random'}, 'random'),
    ],
)
def test_labels_tell_samplers_apart(args, label):
    assert label_of(args) == label


def test_main_BS_is_main_with_method_BS(words, tmp_path, capsys):
    flags = [*words, '--save_path']
    main_BS.main([*flags, str(tmp_path / 'a'), '--method', 'DC'])
    main_script.main([*flags, str(tmp_path / 'b'), '--method', 'BS'])
    a, b = result(tmp_path / 'a'), result(tmp_path / 'b')
    assert (
        torch.equal(a['data'][0][0], b['data'][0][0]) and a['accs_all_exps'] == b['accs_all_exps']
    )
    main_script.main([*words[:2], *BS.split(), '--save_path', str(tmp_path / 'c')])
    assert not torch.equal(result(tmp_path / 'c')['data'][0][0], b['data'][0][0])
    log = json.loads(next(tmp_path.glob('a/*/log.jsonl')).read_text().splitlines()[1])
    assert 3 <= log['batch_real'] <= 5  # about n/k of 12 images
    main_BS.main([*flags, str(tmp_path / 'd'), '--method', 'DSA'])
    assert result(tmp_path / 'd')['args']['method'] == 'DSA'


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--num_cluster 0', 'at least 1'),
        ('--num_cluster 500', '--num_cluster 500 is more than the largest class'),
        ('--layer_idx 4', 'choose from'),
        ('--mix -1', 'at least 0'),
        ('--draw nearest', 'stratified'),
        ('--extractor nowhere.pt', 'nowhere.pt: no such extractor'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    for path in (tmp_path, tmp_path / 'clusters'):
        with pytest.raises(SystemExit) as exit_:
            main_BS.main(
                [*DIGITS, *flags.split(), '--save_path', str(path), '--cluster_path', str(path)]
            )
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
    with pytest.raises(UserError, match='colour.pt holds no .*ResNet18.*1 channels and 10 classes'):
        load_extractor(tmp_path / 'colour.pt', digits)


@pytest.mark.parametrize('script', [main_cluster, main_BS])
def test_clusters_of_another_extractor_are_named(script, clustered, few_digits, tmp_path, capsys):
    for path in clustered.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = torch.load(tmp_path / 'resnet18_few.pt', weights_only=True)
    torch.save(weights | {'accuracy': 0.5}, tmp_path / 'resnet18_few.pt')
    flags = ['--dataset', str(few_digits), *CLUSTERS, '--cluster_path', str(tmp_path)]
    flags += [*BS.split(), '--save_path', str(tmp_path)] if script is main_BS else []
    with pytest.raises(SystemExit):
        script.main(flags)
    assert 'was made with another extractor' in capsys.readouterr().err


def test_an_extractor_that_is_missing_is_named_beside_its_clusters(few_digits, clustered, capsys):
    line = ['--dataset', few_digits, *CLUSTERS[:4], '--cluster_path', clustered]
    line += ['--extractor', 'nowhere.pt']
    assert 'nowhere.pt: no such extractor' in error_of(main_cluster, line, capsys)


@pytest.fixture
def given(clustered, few_digits, tmp_path, monkeypatch):
    """Words of a short run for which the clusters of few digits come with the project."""
    monkeypatch.chdir(tmp_path)  # where the usual folders are
    monkeypatch.setattr('features.given.GIVEN', clustered)
    monkeypatch.setattr('features.given.SHAPE', (1, 8, 8))
    return ['--dataset', str(few_digits), *BS.split(), *CLUSTERS[:4]]


def test_clusters_that_come_with_the_project_stand_in(given, words, tmp_path, capsys):
    main_BS.main(given)
    assert 'class_idx_few_k3_3_True.pt: clusters that come with' in capsys.readouterr().out
    assert not (tmp_path / 'clustering').exists()  # no extractor is made
    main_BS.main([*words, '--save_path', 'same'])
    sets = [result(tmp_path / name)['data'][0][0] for name in ('results', 'same')]
    assert torch.equal(*sets)


def test_clusters_of_the_project_are_for_its_images_alone(
    given, clustered, few_digits, tmp_path, monkeypatch
):
    flags = {'cluster_path': 'clustering', 'layer_idx': 3, 'num_cluster': 3, 'norm': True}
    flags |= {'extractor': None, 'extractor_epochs': None}
    data, folder = load_dataset(str(few_digits)), tmp_path / 'clustering'
    for usual in ('clustering', './clustering', 'clustering/'):
        assert given_clusters(data, **flags | {'cluster_path': usual}) == clustered / FILE
    # What the user names himself.
    for own in ({'cluster_path': 'misspelt'}, {'extractor': 'own.pt'}, {'extractor_epochs': 1}):
        assert given_clusters(data, **flags | own) is None
    for other in ({'im_size': 6}, {'zca': True}):
        assert given_clusters(load_dataset(str(few_digits), **other), **flags) is None
    folder.mkdir()
    (folder / FILE).touch()  # what the user has made
    assert given_clusters(data, **flags) is None
    (folder / FILE).unlink()
    data.indices_class[0], data.indices_class[1] = data.indices_class[1], data.indices_class[0]
    assert given_clusters(data, **flags) is None
    monkeypatch.setattr('features.given.GIVEN', tmp_path)
    (tmp_path / FILE).write_bytes((clustered / FILE).read_bytes()[:500])
    with pytest.raises(UserError, match=FILE):  # damage is not passed over
        given_clusters(data, **flags)


def test_a_run_keeps_to_its_own_clusters(given, clustered, tmp_path, capsys):
    main_BS.main(given)
    (tmp_path / 'clustering').mkdir()
    stored = torch.load(clustered / FILE, weights_only=True)
    stored['clusters'][0][0], stored['clusters'][0][1] = (stored['clusters'][0][j] for j in (1, 0))
    torch.save(stored, tmp_path / 'clustering' / FILE)

    # Neither a finished run nor one that is not is taken for one of other clusters.
    (path,) = tmp_path.glob('results/*/res_*.pt')
    for said in ('was made with other clusters than these', 'was made with clusters (--cluster_p'):
        with pytest.raises(SystemExit) as exit_:
            main_BS.main(given)
        last = capsys.readouterr().err.splitlines()[-1]
        assert exit_.value.code == 2 and said in last
        path.unlink(missing_ok=True)
    main_BS.main([*given, '--cluster_path', str(clustered)])  # theirs
    assert path.exists()

    # Clusters that would be made first are not known: the finished run only says so.
    main_BS.main([*given, '--cluster_path', 'none_yet'])
    assert 'is finished' in capsys.readouterr().out

    # A checkpoint of before clusters were kept goes on.
    path.unlink()
    (saved,) = tmp_path.glob('results/*/checkpoint.pt')
    state = torch.load(saved, weights_only=True)
    del state['args']['clusters_hash']
    torch.save(state, saved)
    main_BS.main(given)
    assert path.exists()


def test_equal_batch_gives_dc_the_batch_sizes_of_bs(words, tmp_path, capsys):
    flags = [*words, '--save_path']
    main_script.main([*flags, str(tmp_path / 'bs'), '--method', 'BS'])
    main_script.main([*flags, str(tmp_path / 'equal'), '--method', 'DC', '--draw', 'equal'])
    sizes = [
        [
            json.loads(line).get('batch_real')
            for line in next(tmp_path.glob(f'{name}/*/log.jsonl')).open()
        ]
        for name in ('bs', 'equal')
    ]
    assert sizes[0] == sizes[1]
    assert not torch.equal(
        result(tmp_path / 'bs')['data'][0][0], result(tmp_path / 'equal')['data'][0][0]
    )


def test_cluster_flags_need_a_clustered_method(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main_script.main([*DIGITS, '--num_cluster', '5', '--save_path', str(tmp_path)])
    assert '--num_cluster does nothing with --draw uniform' in capsys.readouterr().err
