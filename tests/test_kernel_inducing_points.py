"""KIP: kernels at known points and against wide networks, the loss, labels, resume, end to end."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from conftest import error_of

import main as main_script
from experiment.layouts import hard
from experiment.result import load_result
from methods.kernel import kernels, regression
from methods.kernel_inducing_points import KernelInducingPoints, centred
from utils import UserError

SHORT = '--dataset Digits --model ConvNetD1 --num_exp 1 --num_eval 1'


def numpy_ntk(left, right):
    """The NTK, entry by entry, by the formulas of arccosine kernels of degree 0 and 1."""
    result = np.empty((len(left), len(right)))
    for i, x in enumerate(left):
        for j, y in enumerate(right):
            s, q, p = (2 * (a @ b) / len(x) + 0.01 for a, b in ((x, y), (x, x), (y, y)))
            c = s / math.sqrt(q * p)
            turn = 0.0 if c > 1 - 1e-9 else math.acos(c)
            k0 = 1 - turn / math.pi
            k1 = (math.sqrt(max(0.0, 1 - c * c)) + c * (math.pi - turn)) / math.pi
            result[i, j] = math.sqrt(q * p) * k1 + 0.01 + k0 * s
    return result


def numpy_accuracy(data, images, targets):
    """Return the share of test images that ridge regression by numpy_ntk classifies correctly."""
    rows, test = (
        part.double().flatten(1).numpy() for part in (images, data.normalise(data.pixels_test))
    )
    kernel = numpy_ntk(rows, rows)
    kernel += 1e-6 * np.trace(kernel) / len(rows) * np.eye(len(rows))
    predicted = numpy_ntk(test, rows) @ np.linalg.solve(kernel, targets)
    return (predicted.argmax(1) == data.labels_test.numpy()).mean()


def test_kernels_at_known_points():
    # Of length √(D / 2), so that 2 x.x / D is 1; bias 0.01 before and after the ReLU.
    one, other = torch.eye(2).double().chunk(2)
    (same, same_ntk), (apart, apart_ntk) = kernels(one, one), kernels(one, other)
    assert same.item() == pytest.approx(1.01 + 0.01)
    assert same_ntk.item() == pytest.approx(1.02 + 1.01)
    # Orthogonal but for the bias: the cosine is 0.01 / 1.01.
    c = 0.01 / 1.01
    k0, k1 = 1 - math.acos(c) / math.pi, (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c)))
    assert apart.item() == pytest.approx(1.01 * k1 / math.pi + 0.01)
    assert apart_ntk.item() == pytest.approx(apart.item() + k0 * 0.01)
    # Without a bias: 1 / 2 of the inputs' kernel, and 1 / π, at a right angle.
    large = kernels(1e4 * one, 1e4 * other)
    assert large[0].item() / 1e8 == pytest.approx(1 / math.pi, rel=1e-6)


def test_the_ntk_agrees_with_independent_formulas(digits):
    images = digits.images(torch.arange(30)).double().flatten(1)
    expected = numpy_ntk(images[:10].numpy(), images.numpy())
    assert np.allclose(kernels(images[:10], images)[1].numpy(), expected, rtol=1e-6)


def test_kernels_agree_with_wide_random_networks(digits):
    """Means over 40 networks of width 8192 are within 3 % of the largest entry."""
    images, width = digits.images(torch.arange(6)).double().flatten(1), 8192
    size, generator = images.shape[1], torch.Generator().manual_seed(0)
    nngp, ntk = torch.zeros(6, 6).double(), torch.zeros(6, 6).double()
    for _ in range(40):
        weights = torch.randn(width, size, generator=generator).double()
        bias = torch.randn(width, generator=generator).double()
        last = torch.randn(width, generator=generator).double()
        hidden = math.sqrt(2 / size) * images @ weights.T + 0.1 * bias
        units, slopes = hidden.relu(), math.sqrt(2 / width) * last * (hidden > 0)
        nngp += 2 / width * units @ units.T + 0.01
        # Gradients for the last weights and bias, then for the first ones.
        ntk += 2 / width * units @ units.T + 0.01
        ntk += slopes @ slopes.T * (2 / size * images @ images.T + 0.01)
    expected = kernels(images, images)
    for found, exact in zip((nngp / 40, ntk / 40), expected, strict=True):
        assert (found - exact).abs().max() < 0.03 * exact.max()


@pytest.mark.parametrize('learn_labels', [False, True])
def test_a_step_follows_the_gradient_of_the_papers_loss(make_method, learn_labels, monkeypatch):
    monkeypatch.setattr('methods.kernel_inducing_points.CHUNK', 17)
    method = make_method('KIP', learn_labels=learn_labels, batch_real=12, init='real')
    index = torch.cat([own[:12] for own in method.data.indices_class])
    images, real = (part.double().flatten(1).numpy() for part in
                    (method.image_syn, method.data.images(index)))  # fmt: skip
    targets = np.eye(10)[method.data.labels_train[index]] - 0.1

    def loss(images, wanted):
        kernel = numpy_ntk(images, images)
        kernel += 1e-6 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
        error = numpy_ntk(real, images) @ np.linalg.solve(kernel, wanted) - targets
        return 0.5 * (error**2).mean()

    found, grad, grad_targets = method.differentiate(index)
    wanted = np.eye(10).repeat(2, 0) - 0.1
    assert float(found) == pytest.approx(loss(images, wanted), rel=1e-6)
    rng = np.random.default_rng(0)
    for own, part in ((grad.flatten(1).numpy(), 0), (grad_targets.numpy(), 1)):
        along = rng.normal(size=own.shape)
        steps = [(images + h * along, wanted) if part == 0 else (images, wanted + h * along)
                 for h in (1e-5, -1e-5)]  # fmt: skip
        slope = (loss(*steps[0]) - loss(*steps[1])) / 2e-5
        assert (own * along).sum() == pytest.approx(slope, rel=1e-3)


def test_labels_are_learned_or_stay(make_method):
    for learn_labels in (False, True):
        method = make_method('KIP', learn_labels=learn_labels, init='real', lr_img=0.04)
        before = method.stored[1].clone()
        losses = [method.step()['loss'] for _ in range(40)]
        assert losses[-1] < 0.8 * losses[0]
        assert torch.equal(method.stored[1], before) != learn_labels
        assert torch.equal(method.synset[1], hard(method.stored[1]))


@pytest.mark.parametrize('learn_labels', [False, True])
def test_state_goes_on_in_another_instance(make_method, learn_labels):
    method, other = (make_method('KIP', learn_labels=learn_labels, seed=n) for n in (0, 9))
    method.step()
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert method.step() == other.step()
    assert all(map(torch.equal, method.stored, other.stored))


def test_images_and_kernel_are_above_the_class_means(tmp_path, capsys, digits):
    line = f'{SHORT} --ipc 5 --epoch_eval_train 80 --save_path {tmp_path}'
    main_script.main(f'{line} --method KIP --eval_every 0 --Iteration 60 --batch_real 99'.split())
    output = capsys.readouterr().out
    main_script.main(f'{line} --method mean'.split())
    ours, means = (load_result(next(tmp_path.glob(f'{name}*/res_*.pt'))) for name in ('KIP', 'm'))
    own, plain = (np.mean(one['accs_all_exps']['ConvNetD1']) for one in (ours, means))
    assert own > plain + 0.01
    # The kernel's own accuracy, by NumPy, from the file alone.
    (accuracy,), ((images, labels),) = ours['kernel_accs'], ours['data']
    assert f'kernel regression, set by set: {100 * accuracy:.2f} %' in output and accuracy > 0.95
    assert numpy_accuracy(digits, images, np.eye(10)[labels] - 0.1) == pytest.approx(accuracy)


def test_a_result_holds_learned_labels_and_classes(tmp_path, capsys, digits):
    words = '--ipc 1 --Iteration 20 --learn_labels --epoch_eval_train 1'
    line = f'{SHORT} --method KIP --eval_every 0 {words} --save_path {tmp_path}'
    main_script.main(line.split())
    result = load_result(next(tmp_path.glob('KIP*/res_*.pt')))
    (images, targets), (same, classes) = result['stored'][0], result['data'][0]
    assert torch.equal(images, same) and torch.equal(targets.argmax(1), classes)
    (accuracy,) = result['kernel_accs']
    assert numpy_accuracy(digits, images, targets.numpy()) == pytest.approx(accuracy)
    log = next(tmp_path.glob('*/log.jsonl')).read_text().splitlines()
    record, smallest = json.loads(log[19]), min(map(len, digits.indices_class))
    assert record['kernel_accuracy'] == accuracy and record['batch_real'] == smallest
    assert f'has ({smallest} images): a step sees {smallest}\n' in capsys.readouterr().out
    main_script.main(line.split())
    assert (
        'is finished' in (output := capsys.readouterr().out) and f'{100 * accuracy:.2f}' in output
    )


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--batch_real 499', '--batch_real 499 is more than the smallest class of Digits has (13'),
        ('--batch_real 135', 'images); use --batch_real 13'),
        ('--factor 2', '--factor does nothing for --method KIP; use it with DC, DSA, DM'),
        ('--batch_real 9 --ridge 1', 'must be a number at least 0 and below 1'),
        ('--batch_real 9 --dsa_strategy flip', '--dsa_strategy does nothing for --method KIP'),
    ],
)
def test_mistakes_are_one_line_before_the_run(flags, message, tmp_path, capsys):
    line = f'{SHORT} --method KIP --save_path {tmp_path} {flags}'
    assert message in error_of(main_script, line.split(), capsys)
    assert not list(tmp_path.glob('*'))


def test_coinciding_images_need_a_ridge(digits, tmp_path, capsys):
    images, targets = digits.images(torch.tensor([0, 0, 1])), centred(torch.arange(3), 10)
    with pytest.raises(UserError, match='3 images cannot be solved with --ridge 0'):
        regression(images, targets, 0.0)
    assert regression(images, targets, 1e-6).isfinite().all()
    # A class of one image repeats it.
    labels = np.array([0, 0, 1])
    pixels = np.arange(3 * 64, dtype=np.uint8).reshape(3, 8, 8)
    np.savez(tmp_path / 'own.npz', x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
    line = f'--method KIP --dataset {tmp_path}/own.npz --model MLP --ipc 2 --batch_real 1'
    line += f' --ridge 0 --save_path {tmp_path}/runs'
    assert 'use a larger --ridge' in error_of(main_script, line.split(), capsys)
    assert not (tmp_path / 'runs').exists()


def test_a_set_without_kernel_accuracy_is_saved(tmp_path, capsys, monkeypatch):
    def unsolvable(*rest):
        raise UserError('the kernel matrix cannot be solved')

    monkeypatch.setattr(KernelInducingPoints, 'kernel_accuracy', unsolvable)
    line = f'{SHORT} --method KIP --ipc 1 --Iteration 1 --epoch_eval_train 1 --save_path {tmp_path}'
    main_script.main(line.split())
    result = load_result(next(tmp_path.glob('KIP*/res_*.pt')))
    assert 'kernel_accs' not in result and result['accs_all_exps']['ConvNetD1']
    said = capsys.readouterr().out
    assert 'no accuracy by the kernel: the kernel matrix cannot be solved' in said
