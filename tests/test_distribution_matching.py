"""DM: the step against one plain loss, chunks, batch norm, defaults, end to end on Digits."""

import copy

import numpy as np
import pytest
import torch

import main as main_script
from dataset.readers import dsa_strategy
from engine.embeddings import Embeddings
from experiment.arguments import parse_condensing
from methods import SHELF
from networks import make_network, redraw


def plain_step(method):
    """Return the loss of one iteration of `method` and its gradient, as the paper writes them."""
    redraw(method.net, method.rng.generator)
    images, loss = method.image_syn.detach().clone().requires_grad_(), 0
    for c in range(method.data.num_classes):
        real = method.data.images(
            method.sampler.draw(c, method.batch_real, method.rng, method.iteration)
        )
        transform = method.augmentation.draw()
        syn = images.chunk(method.data.num_classes)[c]
        means = [method.net.embed(transform(batch)).mean(0) for batch in (real, syn)]
        loss = loss + (means[0] - means[1]).square().sum()
    return loss.item(), torch.autograd.grad(loss, images)[0]


@pytest.mark.parametrize(
    'keywords', [{}, {'ipc': 3, 'dsa_strategy': dsa_strategy('CIFAR10'), 'init': 'real'}]
)
def test_a_step_equals_the_plain_loss(make_method, keywords, monkeypatch):
    monkeypatch.setattr('engine.embeddings.largest_chunk', lambda net, pixels: 7)
    ours, slow = (make_method('DM', **keywords) for _ in range(2))
    log = ours.step()
    loss, grad = plain_step(slow)
    assert log['loss'] * slow.data.num_classes == pytest.approx(loss, rel=1e-4)
    assert (ours.image_syn.grad - grad).norm() < 1e-4 * grad.norm()
    assert log['batch_real'] == 32


def test_batch_norm_sees_all_classes_together(make_method):
    method = make_method('DM', model='ConvNetBN', init='real')
    before = method.image_syn.clone()
    log = method.step()
    redraw(method.net, torch.Generator().manual_seed(0))
    method.net.train()
    labels = method.label_syn
    means = method.embeddings.means(before, labels, 10)
    with torch.no_grad():
        expected = torch.stack([method.net.embed(before)[labels == c].mean(0) for c in range(10)])
    assert torch.allclose(means, expected, atol=1e-6) and np.isfinite(log['loss'])


@pytest.mark.parametrize('compile', [False, True])
def test_embeddings_in_chunks_equal_one_pass(traced, compile):
    net = make_network('ConvNetD1', 3, 10, (16, 16))
    images, labels = torch.randn(11, 3, 16, 16), torch.arange(11) % 4
    embeddings = Embeddings(net, (3, 16, 16), 'fp32', compile, whole=False)
    embeddings.size = 4
    features = net.embed(images).detach()
    expected = torch.stack([features[labels == c].mean(0) for c in range(4)])
    assert torch.allclose(embeddings.means(images, labels, 4), expected, atol=1e-5)
    directions = torch.randn(11, features.shape[1])
    leaf = images.clone().requires_grad_()
    expected = torch.autograd.grad((net.embed(leaf) * directions).sum(), leaf)[0]
    assert torch.allclose(embeddings.of_images(images, directions), expected, atol=1e-4)


@pytest.mark.parametrize('steps', [30, 3])
def test_loss_falls_and_state_goes_on(make_method, steps):
    method = make_method('DM', lr_img=1.0, batch_real=128)
    losses = [method.step()['loss'] for _ in range(steps)]
    assert steps < 30 or np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    other = make_method('DM', lr_img=1.0, batch_real=128, seed=9)
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert method.step() == other.step() and torch.equal(method.image_syn, other.image_syn)


def test_divergence_is_noticed(make_method):
    method = make_method('DM', lr_img=1e38)
    with pytest.raises(FloatingPointError):
        for _ in range(5):
            method.step()


def test_defaults_are_those_of_the_paper():
    def parsed(line):
        return parse_condensing('', line.split(), SHELF, 'uniform')

    args = parsed('--method DM --ipc 50')
    assert (args.Iteration, args.lr_img, args.init, args.eval_every) == (20000, 1.0, 'real', 2000)
    assert args.dsa_strategy == dsa_strategy('CIFAR10')
    assert args.run_name.startswith('DM_CIFAR10_ConvNet_50ipc_seed0_')
    assert parsed('--method DM --ipc 100').lr_img == 10.0
    assert parsed('--method DM --ipc 100 --lr_img 2').lr_img == 2.0


def test_end_to_end_above_random_images(tmp_path, capsys):
    line = '--dataset Digits --model ConvNetD1 --ipc 1 --num_exp 1 --num_eval 2'
    line += f' --save_path {tmp_path} --epoch_eval_train 100 --dsa_strategy None'
    main_script.main(f'{line} --method DM --Iteration 40 --batch_real 64 --eval_every 0'.split())
    main_script.main(f'{line.replace("--dsa_strategy None", "")} --method random'.split())
    accuracy = {}
    for path in tmp_path.glob('*/res_*.pt'):
        result = torch.load(path, weights_only=True)
        accuracy[result['args']['method']] = np.mean(result['accs_all_exps']['ConvNetD1'])
    assert accuracy['DM'] > accuracy['random'] + 0.05


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        (
            '--method DM --dis_metric cos',
            '--dis_metric does nothing for --method DM; use it with DC, DSA',
        ),
        ('--method DM --reduce mask', '--reduce does nothing for --method DM'),
        ('--method DC --reduce mask --mask_quantile 1.5', 'at least 0 and below 1'),
        ('--method DC --mask_quantile 0.5', 'the one needs the other'),
        ('--method DM --compile off --ipc 500', '--init real needs 500 images'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    line = f'--dataset Digits --model ConvNetD1 --num_eval 1 --save_path {tmp_path} {flags}'
    with pytest.raises(SystemExit) as exit_:
        main_script.main(line.split())
    assert exit_.value.code == 2 and message in capsys.readouterr().err


def test_recorded_passes_are_not_compiled(monkeypatch):
    monkeypatch.setattr('engine.gradients.compiled', None)  # a call would fail
    for whole in (False, True):
        net = make_network('ConvNetD1', 1, 10, (8, 8), torch.Generator())
        assert Embeddings(net, (1, 8, 8), 'fp32', 'graphs', whole).compile in ('graphs', False)
