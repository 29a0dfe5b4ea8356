"""CAFE: the step against one plain loss, loops and their ends, resume, ranks, end to end."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import error_of

import main as main_script
from dataset.readers import dsa_strategy
from engine.taps import ClassTaps, check_taps, taps
from experiment.arguments import parse_condensing
from experiment.checkpoint import same
from experiment.result import load_result
from methods import SHELF, feature_alignment
from methods.feature_alignment import learning_rate
from networks import Network, make_network, redraw
from utils import UserError

SMALL = {'batch_real': 16, 'inner_loop': 2, 'outer_loop': 3}


def convnet_taps(net, images):
    """Return the taps of a ConvNet by its own layers: each ReLU, then all features."""
    found = []
    for layer in net.features:
        images = layer(images)
        if isinstance(layer, torch.nn.ReLU):
            found.append(images)
    return [*found, images]


def plain_step(method):
    """Return the parts of the loss of an image step, and its gradient, as the paper writes them."""
    redraw(method.net, method.rng.generator)
    num, data = method.data.num_classes, method.data
    images = method.image_syn.detach().clone().requires_grad_()
    index = [method.sampler.draw(c, method.batch_real, method.rng, 0) for c in range(num)]
    transforms = [method.augmentation.draw() for _ in range(num)]
    own = method.tiles.decode(images).chunk(num)
    real = [convnet_taps(method.net, transforms[c](data.images(index[c]))) for c in range(num)]
    syn = [convnet_taps(method.net, transforms[c](own[c])) for c in range(num)]
    weights = [0.1] * (len(syn[0]) - 2) + [1.0, 2.0]
    parts = [
        w * sum((real[c][tap].mean(0) - syn[c][tap].mean(0)).square().sum() for c in range(num))
        for tap, w in enumerate(weights)
    ]
    means = torch.stack([syn[c][-1].mean(0).flatten() for c in range(num)])
    for c in range(num):
        logits = real[c][-1].flatten(1) @ means.T
        label = torch.full((len(logits),), c)
        # 0.01 times a sum over 256 images of a class, whatever the batch.
        parts.append(2.56 * F.cross_entropy(logits, label))
    parts = torch.stack([*parts[: len(weights)], sum(parts[len(weights) :])])
    return parts.detach(), torch.autograd.grad(parts.sum(), images)[0]


@pytest.mark.parametrize(
    'keywords',
    [{}, {'model': 'ConvNetD3', 'ipc': 3, 'dsa_strategy': dsa_strategy('CIFAR10')},
     {'factor': 2, 'init': 'mix', 'batch_real': 7}, {'compile': True}],
)  # fmt: skip
def test_an_image_step_equals_the_plain_loss(make_method, keywords, traced, monkeypatch):
    monkeypatch.setattr('engine.taps.largest_chunk', lambda net, pixels: 12)
    ours, slow = (make_method('CAFE', **SMALL | {'outer_loop': 1} | keywords) for _ in range(2))
    log = ours.step()
    parts, grad = plain_step(slow)
    logged = [*log['loss_taps'], log['loss_discrimination']]
    assert np.allclose(np.array(logged) * 10, parts.numpy(), rtol=1e-4)
    assert log['loss'] == pytest.approx(sum(logged)) and log['image_steps'] == 1
    assert (ours.image_syn.grad - grad).norm() < 1e-4 * grad.norm()


def test_the_derivative_of_the_loss_by_numpy():
    rng = np.random.default_rng(0)
    real, syn = ([rng.normal(size=(3, 4)), rng.normal(size=(3, 2))] for _ in range(2))
    features, labels = rng.normal(size=(5, 2)), np.array([0, 0, 1, 2, 2])

    def loss(syn):
        logits = features @ syn[1].T
        right = logits[np.arange(5), labels] - np.log(np.exp(logits).sum(1))
        return (
            ((syn[0] - real[0]) ** 2).sum()
            + 2 * ((syn[1] - real[1]) ** 2).sum()
            - 0.01 * 256 * 3 * right.mean()
        )

    tensors = [[torch.tensor(part) for part in side] for side in (real, syn)]
    parts, directions = feature_alignment.alignment(
        *tensors, torch.tensor(features), torch.tensor(labels)
    )
    assert float(parts.sum()) == pytest.approx(loss(syn))
    for tap, direction in enumerate(directions):
        along = rng.normal(size=direction.shape)
        up, down = ([s + h * along * (i == tap) if i == tap else s for i, s in enumerate(syn)]
                    for h in (1e-5, -1e-5))  # fmt: skip
        slope = (loss(up) - loss(down)) / 2e-5
        assert (direction.numpy() * along).sum() == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize('filled', [False, True])
def test_means_in_groups_equal_one_pass(filled, monkeypatch):
    monkeypatch.setattr('engine.taps.largest_chunk', lambda net, pixels: 8)
    net, counts = make_network('ConvNetD1', 1, 5, (8, 8)), [4, 3, 4, 1, 4]
    images = torch.randn(16, 1, 8, 8).split(counts)
    ours = ClassTaps(net, (1, 8, 8), 4, 'fp32', False)
    assert ours.together == 2
    ours.compile = filled  # chunks are filled up with zeros for compiled passes
    means, features = ours.means(images.__getitem__, counts)
    assert torch.allclose(features, net.embed(torch.cat(images)), atol=1e-5)
    for mean, tap in zip(means, taps(net, torch.cat(images), 'fp32'), strict=True):
        expected = torch.stack([part.mean(0) for part in tap.split(counts)])
        assert torch.allclose(mean, expected, atol=1e-5)
    # The gradient of a sum over means, against autograd.
    directions, leaf = [torch.randn_like(mean) for mean in means], torch.cat(images)
    leaf.requires_grad_()
    value = sum(
        (torch.stack([part.mean(0) for part in tap.split(counts)]) * along).sum()
        for tap, along in zip(taps(net, leaf, 'fp32'), directions, strict=True)
    )
    grads = ours.of_images(images.__getitem__, counts, directions)
    assert torch.allclose(grads, torch.autograd.grad(value, leaf)[0], atol=1e-5)


@pytest.mark.parametrize(
    ('model', 'num'),
    [('ConvNetD2', 2), ('ConvNetNP', 3), ('MLP', 2), ('LeNet', 4), ('AlexNet', 5), ('VGG11BN', 8),
     ('ResNet18_AP', 5)],
)  # fmt: skip
def test_every_network_of_the_project_has_taps(model, num):
    net = make_network(model, 2, 4, (16, 16))
    net.eval()
    check_taps(net, 'CAFE')
    images = torch.randn(2, 2, 16, 16)
    found = taps(net, images, 'fp32')
    assert len(found) == num + 1 and torch.allclose(found[-1], net.embed(images), atol=1e-6)


def test_a_network_without_taps_is_refused(tmp_path, capsys):
    with pytest.raises(UserError, match='--method CAFE compares what layers put out'):
        check_taps(Network(torch.nn.Linear(2, 2), 2, 2), '--method CAFE')
    (tmp_path / 'net.py').write_text(
        'import torch\nfrom networks import Network\n'
        'def flat(channel, num_classes, im_size):\n'
        '    return Network(torch.nn.Sequential(torch.nn.Flatten()), 64, num_classes)\n'
    )
    line = f'--method CAFE --dataset Digits --model {tmp_path}/net.py:flat'
    assert 'needs a network with' in error_of(
        main_script, f'{line} --save_path {tmp_path}/runs'.split(), capsys
    )
    assert not (tmp_path / 'runs').exists()


def loops_of(method, accuracies):
    """Return the image steps and epochs of an iteration with these accuracies in turn."""
    method.accuracy = iter(accuracies).__next__
    log = method.step()
    return log['image_steps'], log['inner_epochs']


def test_loops_end_by_their_windows_or_bounds(make_method):
    make = partial(make_method, model='MLP', ipc=1)
    still, moving = [0.5] * 2000, [0.5 + 0.1 * (n % 2) for n in range(2000)]
    method = make('CAFE', batch_real=2, outer_loop=12, inner_loop=13)
    # A still accuracy leaves the network after ten steps; its training goes on to the bound.
    assert loops_of(method, still) == (10, 9 * 13)
    # A moving one ends training after ten epochs; the network is left at the bound.
    assert loops_of(method, moving) == (12, 11 * 10)
    # A single move, in the twelfth epoch, ends it there.
    method = make('CAFE', batch_real=2, outer_loop=2, inner_loop=13)
    assert loops_of(method, [*[0.5] * 11, 0.6]) == (2, 12)
    # What no window can end measures nothing.
    method = make('CAFE', batch_real=2, outer_loop=3, inner_loop=2)
    assert loops_of(method, []) == (3, 4)
    assert loops_of(make('CAFE', batch_real=2, outer_loop=1), []) == (1, 0)


def test_an_accuracy_is_of_fresh_real_images_and_keeps_no_graph(make_method, monkeypatch):
    method, seen = make_method('CAFE', batch_real=12), []
    images = method.data.images
    monkeypatch.setattr(method.data, 'images', lambda index: seen.append(index) or images(index))
    method.classes = lambda net, images, precision: (
        torch.is_grad_enabled() and pytest.fail('a graph') or net(images).argmax(1)
    )
    assert 0 <= method.accuracy() <= 1 and 0 <= method.accuracy() <= 1
    seen = torch.cat(seen)
    assert method.data.labels_train[seen].bincount().tolist() == [12] * 10
    assert len(seen.unique()) > 100


def test_the_learning_rate_is_halved_at_shares_of_the_run(make_method):
    rates = [learning_rate(0.1, iteration, 10) for iteration in range(10)]
    assert np.allclose(rates, [0.1] * 6 + [0.05] * 2 + [0.025, 0.0125])
    assert [learning_rate(1, n, 2000) for n in (1199, 1200, 1800)] == [1, 0.5, 0.125]
    method = make_method('CAFE', **SMALL, Iteration=1)
    method.step()
    assert method.optimizer_img.param_groups[0]['lr'] == 0.1


@pytest.mark.parametrize(
    ('stop', 'model', 'epochs'), [(1, 'ConvNetD1', 11), (7, 'ConvNetD1', 11), (2, 'ConvNetBN', 2)]
)
def test_a_pause_between_epochs_changes_nothing(make_method, stop, model, epochs):
    settings = {'outer_loop': 2, 'model': model, 'batch_real': 2, 'ipc': 1, 'inner_loop': epochs}
    straight, before, after = (make_method('CAFE', seed=n, **settings) for n in (0, 0, 9))
    log = straight.step()
    pauses = iter([False] * (stop - 1) + [True])
    assert before.step(lambda: next(pauses)) is None
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    assert after.step() == log and same(after.state_dict(), straight.state_dict())


def test_the_plain_method_and_its_defaults():
    args = parse_condensing('', ['--method', 'CAFE'], SHELF, 'uniform')
    assert (args.Iteration, args.lr_img, args.init, args.batch_real) == (2000, 0.1, 'noise', 256)
    assert (args.outer_loop, args.inner_loop, args.dsa_strategy) == (20, 30, 'None')
    line = f'--method CAFE --dsa_strategy {dsa_strategy("CIFAR10")}'
    assert 'dsa_strategy' in parse_condensing('', line.split(), SHELF, 'uniform').changed


def test_divergence_is_noticed(make_method):
    method = make_method('CAFE', **SMALL | {'lr_img': 1e38})
    with pytest.raises(FloatingPointError):
        for _ in range(3):
            method.step()


def test_end_to_end_above_the_class_means(tmp_path):
    line = '--dataset Digits --model ConvNetD1 --ipc 5 --num_exp 1 --num_eval 1'
    line += f' --epoch_eval_train 80 --save_path {tmp_path}'
    loops = '--outer_loop 10 --inner_loop 2 --Iteration 4 --batch_real 32 --eval_every 0'
    main_script.main(f'{line} --method CAFE --init real {loops}'.split())
    main_script.main(f'{line} --method mean'.split())
    ours, means = (
        np.mean(load_result(next(tmp_path.glob(f'{name}*/res_*.pt')))['accs_all_exps']['ConvNetD1'])
        for name in ('CAFE', 'mean')
    )
    assert ours > means + 0.01


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--level both', '--level does nothing for --method CAFE'),
        ('--init mix', '--init mix shrinks real images'),
        ('--outer_loop 0', 'must be an integer at least 1'),
        ('--outer_loop auto', 'has no rule for it'),
        ('--factor 3', 'does not divide'),
        ('--dsa_strategy swirl', "unknown operation 'swirl'"),
    ],
)
def test_mistakes_are_one_line_before_the_run(flags, message, tmp_path, capsys):
    line = f'--dataset Digits --model ConvNetD1 --method CAFE --save_path {tmp_path} {flags}'
    assert message in error_of(main_script, line.split(), capsys)
    assert not list(tmp_path.glob('*'))
