"""Representative draws: which images they take, when they are drawn again, with which methods."""

import copy

import numpy as np
import pytest
import torch

import main as main_script
from condense import build
from dataset.data import Data
from experiment.arguments import parse_condensing
from experiment.result import label_of, load_result
from experiment.shelf import own_flags
from methods import METHODS, SHELF
from methods.initial import initial_images
from methods.parameterisation import Tiles
from methods.representative import EVERY, RepresentativeSampler, candidates, representatives
from networks import make_network
from utils import Rng, UserError

GROUPS = 4


class Pixels(torch.nn.Module):
    """A network whose features are the pixels, times a weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def embed(self, images):
        return self.weight * images.flatten(1)


@pytest.fixture(scope='module')
def grouped():
    """Return data of two classes, each of four groups of pixels far from each other."""
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 2, (2, GROUPS, 8, 8)) * 160
    labels, groups = np.repeat([0, 1], 60), np.tile(np.arange(GROUPS), 30)
    pixels = (centres[labels, groups] + rng.integers(0, 90, (120, 8, 8))).astype(np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels, 'y_test': labels}
    return Data('grouped', arrays), groups


def nearest(data, groups, c):
    """Return in NumPy the image of each group of class c that is nearest to the group's mean."""
    points = data.images(torch.arange(120)).flatten(1).double().numpy()
    chosen = []
    for group in range(GROUPS):
        members = np.flatnonzero((groups == group) & (np.repeat([0, 1], 60) == c))
        mean = points[members].mean(0)
        chosen.append(members[np.argmin(np.linalg.norm(points[members] - mean, axis=1))])
    return sorted(chosen)


def test_of_every_cluster_the_image_nearest_to_its_centre(grouped):
    data, groups = grouped
    for c in (0, 1):
        index = representatives(Pixels(), data, c, GROUPS, Rng('cpu', 0), 'fp32')
        assert sorted(index.tolist()) == nearest(data, groups, c)
    assert (candidates(4), candidates(128), candidates(256)) == (1000, 1024, 2048)


def test_batches_are_kept_for_ten_steps_of_a_network(digits):
    sampler, rng = RepresentativeSampler(digits, 12), Rng('cpu', 0)
    nets = [make_network('ConvNetD1', 1, 10, (8, 8), Rng('cpu', n).generator) for n in range(2)]
    seen = []
    for net, step in [(nets[0], 0), (nets[1], 1), (nets[1], EVERY - 1), (nets[1], EVERY)]:
        sampler.look(net, step, rng, 'fp32')
        seen.append(torch.stack([sampler.draw(c, 12, rng) for c in range(10)]))
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[1], seen[2])
    assert not torch.equal(seen[2], seen[3])
    for c, index in enumerate(seen[3]):
        assert (digits.labels_train[index] == c).all() and len(index.unique()) == 12


def test_a_start_from_representative_images(digits):
    net, tiles = make_network('ConvNetD1', 1, 10, (8, 8)), Tiles(2, digits.shape)
    images = initial_images(digits, 1, 'representative', Rng('cpu', 0), net=net)
    expected = representatives(net, digits, 0, 1, Rng('cpu', 0), 'fp32')
    assert torch.equal(images[:1], digits.images(expected))
    stored = initial_images(digits, 1, 'representative', Rng('cpu', 0), tiles, net)
    expected = representatives(net, digits, 0, 4, Rng('cpu', 0), 'fp32')
    assert torch.equal(stored[:1], tiles.encode(digits.images(expected)))


@pytest.mark.parametrize('name', [name for name in METHODS if 'init' in own_flags(METHODS[name])])
def test_every_method_with_a_network_starts_from_them(name, digits):
    words = f'--method {name} --dataset Digits --model ConvNetD1 --ipc 1 --init representative'
    args = parse_condensing('', words.split(), SHELF, 'uniform').replaced(compile=False)
    if name == 'KIP':
        with pytest.raises(UserError, match='representative needs features of a network'):
            build(METHODS[name], digits, None, args, 0)
        return
    images, labels = build(METHODS[name], digits, None, args, 0).synset
    assert images.isfinite().all() and labels.bincount().tolist() == [len(labels) // 10] * 10


def test_gradient_matching_goes_on_with_the_same_batches(make_method, digits):
    def build(seed=0):
        return make_method(sampler=RepresentativeSampler(digits, 8), outer_loop=3, seed=seed)

    straight, paused = build(), build()
    expected = straight.step()
    assert expected['batch_real'] == 8
    log = paused.step(pause=lambda: True)
    while log is None:
        state = copy.deepcopy(paused.state_dict())
        paused = build(seed=9)
        paused.load_state_dict(state)
        log = paused.step(pause=lambda: True)
    assert log == expected and torch.equal(paused.image_syn, straight.image_syn)


def test_a_small_class_gives_all_that_it_has(capsys):
    labels = np.repeat(np.arange(2), (9, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 8), dtype=np.uint8)
    arrays = {'x_train': pixels, 'y_train': labels, 'x_test': pixels, 'y_test': labels}
    data, rng = Data('uneven', arrays), Rng('cpu', 0)
    sampler = RepresentativeSampler(data, 5)
    sampler.look(make_network('MLP', 1, 2, (8, 8)), 0, rng, 'fp32')
    assert sorted(sampler.draw(1, 5, rng).tolist()) == [9, 10, 11]
    assert len({*sampler.draw(0, 5, rng).tolist()} & {*range(9)}) == 5
    said = capsys.readouterr().out
    assert said == "uneven: class '1' has 3 of 5 images: it gives all that it has to a step\n"


def test_only_flags_tell_it_from_other_draws(tmp_path):
    args = parse_condensing('', ['--method', 'DC', '--draw', 'representative'], SHELF, 'uniform')
    assert args.changed == {'draw': 'representative'} and args.run_name.startswith('DC_')
    assert 'layer_idx' not in vars(args)
    line = '--dataset Digits --model ConvNetD1 --num_exp 1 --num_eval 1 --epoch_eval_train 1'
    line += f' --ipc 1 --Iteration 1 --eval_every 0 --batch_real 8 --save_path {tmp_path}'
    main_script.main(f'{line} --method DC --draw representative'.split())
    main_script.main(f'{line} --method DREAM --outer_loop 1'.split())
    paths = sorted(tmp_path.glob('*/res_*.pt'))
    assert [path.name[:7] for path in paths] == ['res_DC_', 'res_DRE']
    labels = [label_of(load_result(path)['args']) for path in paths]
    assert labels == ['DC representative', 'DREAM']


def test_a_network_that_diverged_is_said(grouped):
    data, _ = grouped
    net = Pixels()
    net.weight.data.fill_(float('nan'))
    with pytest.raises(FloatingPointError, match='not finite'):
        RepresentativeSampler(data, GROUPS).look(net, 0, Rng('cpu', 0), 'fp32')


def test_a_batch_beyond_the_class_takes_no_memory(grouped):
    assert RepresentativeSampler(grouped[0], 2**31 - 1).batches.shape == (2, 60)
