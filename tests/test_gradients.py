"""Passes: in chunks, compiled, by directional derivative; against a plain double backward."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F

from engine.gradients import Gradients, choose, loss
from engine.training import TrainStep, freeze_batchnorm, train_epoch
from engine.training import test_accuracy as accuracy_of
from experiment import compiling
from experiment.arguments import Arguments
from methods.distance import match_ours
from networks import NETWORKS, make_network
from utils import Rng


def make(name, size=32, dtype=torch.float64, num=3):
    """Return a network, images (num, 3, size, size), and random real gradients."""
    net = make_network(name, 3, 10, (size, size), Rng('cpu', 0).generator).to(dtype)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(num, 3, size, size, generator=generator, dtype=dtype)
    freeze_batchnorm(net, torch.cat([images, images.flip(3) + 0.5]))
    grads_real = [
        torch.randn(param.shape, generator=generator, dtype=dtype) for param in net.parameters()
    ]
    return net, images, grads_real


def by_double_backward(net, images, c, grads_real):
    """Return the gradient of the distance for images as the papers compute it."""
    images = images.clone().requires_grad_()
    output = F.cross_entropy(net(images), torch.full((len(images),), c))
    grads_syn = torch.autograd.grad(output, list(net.parameters()), create_graph=True)
    return torch.autograd.grad(match_ours(grads_syn, grads_real), images)[0]


def by_direction(gradients, images, c, grads_real):
    """Return the same gradient by directional derivative."""
    grads_syn = [grad.requires_grad_() for grad in gradients.of_weights(images, c, 'fp32')[0]]
    distance = match_ours(grads_syn, grads_real)
    direction = torch.autograd.grad(distance, grads_syn, materialize_grads=True)
    return gradients.of_images(images, c, direction)


def relative(result, expected):
    """Return the norm of the difference as a share of the expected norm."""
    return ((result - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize('name', [name for name in NETWORKS if 'W' not in name])
def test_image_gradient_equals_the_double_backward_for_every_network(name):
    num, size = (1 if 'Res' in name or 'VGG' in name else 3), (32 if 'VGG' in name else 16)
    net, images, grads_real = make(name, size, num=num)
    gradients = Gradients(net, num, size * size, compile=False, chunk=2)
    expected = by_double_backward(net, images, 4, grads_real)
    assert relative(by_direction(gradients, images, 4, grads_real), expected) < 1e-9


@pytest.mark.parametrize('name', ['MLP', 'ConvNetD2', 'ConvNetLN', 'AlexNet'])
def test_both_gradients_along_a_direction_equal_the_double_backward(name):
    net, images, _ = make(name, 16, num=5)
    labels, params = torch.tensor([0, 1, 1, 2, 3]), list(net.parameters())
    direction = [torch.randn_like(param) for param in params]
    leaf = images.clone().requires_grad_()
    grads = torch.autograd.grad(F.cross_entropy(net(leaf), labels), params, create_graph=True)
    along = sum((grad * part).sum() for grad, part in zip(grads, direction, strict=True))
    expected = torch.autograd.grad(along, [*params, leaf], materialize_grads=True)
    gradients = Gradients(net, 5, 256, compile=False, chunk=2)
    of_weights, slope, of_images = gradients.of_both(images, labels, direction)
    assert slope.item() == pytest.approx(along.item(), rel=1e-9)
    for ours, plain in zip([*of_weights, of_images], expected, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-8, atol=1e-12)


def test_gradients_leave_no_cycle():
    net, images, grads_real = make('ConvNetD1', 8)
    gradients = Gradients(net, 3, 8 * 8, compile=False)
    by_direction(gradients, images, 4, grads_real)
    left = weakref.ref(gradients)
    gc.disable()
    try:
        del gradients
        assert left() is None  # and with it the memory of its recordings
    finally:
        gc.enable()


@pytest.mark.parametrize('num', [1, 10, 50])
def test_image_gradient_in_fp32(num):
    net, images, grads_real = make('ConvNetD2', 16, torch.float32, num)
    gradients = Gradients(net, num, 16 * 16, compile=False, chunk=8)
    expected = by_double_backward(
        net.double(), images.double(), 4, [grad.double() for grad in grads_real]
    )
    net.float()
    assert relative(by_direction(gradients, images, 4, grads_real), expected) < 1e-5


@pytest.mark.parametrize('num', [1, 7, 32, 33])
def test_weight_gradient_in_chunks_equals_one_pass(num):
    net, images, _ = make('ConvNetD1', 8, num=num)
    output = F.cross_entropy(net(images), torch.full((num,), 2))
    expected = torch.autograd.grad(output, net.parameters())
    result, mean = Gradients(net, 100, 64, compile=False, chunk=8).of_weights(images, 2, 'fp32')
    assert mean.item() == pytest.approx(output.item(), rel=1e-12)
    for ours, plain in zip(result, expected, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-12, atol=1e-14)


def test_chunks_are_bounded_and_of_equal_size():
    net, images, _ = make('ConvNetD1', 8, num=50)
    assert Gradients(net, 100, 32 * 32, compile=False).size == 50  # two passes of 50, not 64 and 36
    assert Gradients(net, 256, 32 * 32, compile=False).size == 64
    gradients = Gradients(net, 100, 64, compile=True, chunk=32)
    parts = list(gradients._chunks(images, 3))
    assert [len(part) for part, _, _ in parts] == [25, 25]
    parts = list(gradients._chunks(images[:30], 3))
    assert [len(part) for part, _, _ in parts] == [25, 25]  # one shape for the compiled passes
    assert torch.cat([weights for _, _, weights in parts]).tolist() == [1 / 30] * 30 + [0] * 20


@pytest.fixture(scope='module')
def compiler():
    """Skip a test where no compiler works."""
    if not compiling.has_compiler(torch.device('cpu')):
        pytest.skip('no working C++ compiler here')


def test_compiled_gradients_equal_eager_ones(compiler):
    net, images, grads_real = make('MLP', 8, torch.float64, 5)
    eager, fast = (Gradients(net, 5, 64, compile=flag, chunk=3) for flag in (False, True))
    assert relative(*(by_direction(g, images, 1, grads_real) for g in (fast, eager))) < 1e-9
    assert_same_weights(fast, eager, images, 'fp32', rtol=1e-9, atol=1e-12)


def assert_same_weights(fast, eager, images, precision, **tolerance):
    grads = [g.of_weights(images, 1, precision)[0] for g in (fast, eager)]
    for ours, plain in zip(*grads, strict=True):
        assert torch.allclose(ours, plain, **tolerance)


def test_traced_gradients_of_the_weights_equal_eager_ones_in_bf16(traced):
    net, images, _ = make('MLP', 8, torch.float32, 5)
    eager, fast = (Gradients(net, 5, 64, compile=flag, chunk=3) for flag in (False, True))
    assert_same_weights(fast, eager, images, 'bf16', rtol=0.05, atol=0.005)


def test_compiled_iterations_equal_eager_ones(traced, make_method):
    eager, fast = (make_method(compile=flag) for flag in (False, True))
    for _ in range(3):
        assert fast.step()['loss'] == pytest.approx(eager.step()['loss'], rel=1e-4)
    assert relative(fast.image_syn, eager.image_syn) < 1e-5


def test_compiled_training_and_accuracy_equal_eager_ones(traced, digits):
    images, labels = digits.images(torch.arange(32)), digits.labels_train[:32]
    results = []
    for compile in (False, True):
        rng = Rng('cpu', 0)
        net = make_network('MLP', 1, 10, (8, 8), rng.generator)
        step = TrainStep(net, torch.optim.SGD(net.parameters(), 0.05), compile=compile)
        for _ in range(5):
            train_epoch(step, images, labels, 16, rng)
        results.append((net.state_dict(), accuracy_of(net, digits, compile=compile)))
    (eager, accuracy), (fast, accuracy_fast) = results
    assert all(torch.allclose(fast[name], eager[name], atol=1e-5) for name in eager)
    assert accuracy == pytest.approx(accuracy_fast, abs=0.005) and accuracy > 0.2


def test_bf16_gradient_is_close_to_fp32():
    net, images, _ = make('ConvNet', 16, torch.float32, 32)
    exact, rounded = (
        torch.cat(
            [
                grad.flatten()
                for grad in Gradients(net, 32, 256, False).of_weights(images, 0, precision)[0]
            ]
        )
        for precision in ('fp32', 'bf16')
    )
    assert 0 < relative(rounded, exact) < 0.03


def test_operations_of_a_network_are_counted(digits):
    # ConvNetD1 on 8x8: convolution 1 -> 128 of 3x3 at 64 places, linear 128 * 4 * 4 -> 10; two a
    # multiply-add
    expected = 2 * (64 * 128 * 9 + 128 * 16 * 10)
    assert compiling.forward_operations('ConvNetD1', digits) == expected


def args_of(**values):
    """Return arguments of a small run with other values."""
    settings = {'model': 'ConvNet', 'ipc': 1, 'num_exp': 1, 'num_eval': 1, 'epoch_eval_train': None}
    return Arguments(**settings | {'compile': 'auto'} | values)


def test_images_of_a_run_are_counted(digits):
    args = args_of(
        Iteration=10, outer_loop=3, inner_loop=5, batch_real=16, ipc=2, eval_every=5, num_eval=4
    )
    matched, trained, evaluated = 3 * (16 + 8), 2 * 5 * 2, 300 * 2 * 10 + 450 // 3
    expected = 10 * 10 * (matched + trained) + 3 * 4 * evaluated
    assert compiling.images_passed(args, digits, ('ConvNet',)) == expected


def test_long_runs_are_compiled_and_short_ones_are_not(digits, capsys, monkeypatch):
    long, short = args_of(num_eval=10_000), args_of()
    monkeypatch.setattr(compiling, 'has_compiler', lambda device: True)
    assert compiling.settle_compile(long, digits, ('ConvNet',)).compile is True
    assert compiling.settle_compile(short, digits, ('ConvNet',)).compile is False
    assert (
        compiling.settle_compile(short, digits, ('ConvNet',), epochs_on_all=10_000).compile is True
    )
    assert compiling.settle_compile(args_of(compile='on'), digits, ('ConvNet',)).compile is True
    off = args_of(compile='off', num_eval=10_000)
    assert compiling.settle_compile(off, digits, ('ConvNet',)).compile is False
    monkeypatch.setattr(compiling, 'has_compiler', lambda device: False)
    capsys.readouterr()
    assert compiling.settle_compile(long, digits, ('ConvNet',)).compile is False
    assert 'no working compiler' in capsys.readouterr().out


def test_a_broken_compiler_is_noticed(monkeypatch):
    def broken(function):
        raise RuntimeError('no C++ compiler')

    monkeypatch.setattr(compiling, 'compiled', broken)
    assert not compiling.has_compiler(torch.device('cpu'))


def test_choose_compiles_once():
    assert choose(loss, False) is choose(loss, 'graphs') is loss
    assert choose(loss, True) is choose(loss, True) is not loss


@pytest.mark.parametrize('works', [True, False])
def test_on_a_gpu_passes_are_replayed_and_in_long_runs_compiled(digits, monkeypatch, works):
    monkeypatch.setattr(compiling, 'DEVICES', ('cpu',))
    monkeypatch.setattr(compiling, 'has_compiler', lambda device: works)

    def settled(**values):
        return compiling.settle_compile(args_of(**values), digits, ('ConvNet',)).compile

    assert settled(num_eval=100_000) == settled(compile='on') == (works or 'graphs')
    assert settled() == settled(compile='graphs', num_eval=100_000) == 'graphs'
    assert settled(compile='off') is False
