"""IDC: a step against a plain double backward, its settings, pauses, and what it refuses."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import error_of

import main as main_script
from engine.training import train_epoch
from experiment.arguments import parse_condensing
from experiment.result import load_result
from methods import SHELF
from methods.inner_loop import images_in_batches
from methods.representative import RepresentativeSampler
from networks import redraw

SETTINGS = {
    'ipc': 1, 'factor': 2, 'init': 'mix', 'dis_metric': 'conv_mse', 'lr_img': 0.05, 'outer_loop': 3,
    'batch_real': 20, 'batch_train': 16, 'n_data': 40,
}  # fmt: skip


@pytest.fixture
def make(make_method):
    return lambda name='IDC', **keywords: make_method(name, **SETTINGS | keywords)


def parsed(line, draw='uniform'):
    return parse_condensing('', line.split(), SHELF, draw)


def plain_iteration(method):
    """Do an iteration of IDC as the paper's loop: one image step a class, a double backward.

    The tensors and generators are those of method; return the losses.
    """
    data, net, rng, losses = method.data, method.net, method.rng, []
    conv = [param for param in net.parameters() if param.ndim == 4]
    pixels = method.image_syn.clone().clamp(0, 1).requires_grad_()
    optimizer_img = torch.optim.SGD([pixels], SETTINGS['lr_img'], momentum=0.5)
    redraw(net, rng.generator)
    optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
    for step in range(method.outer_loop):
        for c in range(data.num_classes):
            real = data.images(method.sampler.draw(c, method.batch_real, rng, 0))
            own = pixels.view(data.num_classes, -1, 1, 8, 8)[c]
            tiles = [own[:, :, i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
            seen = torch.stack(tiles, 1).flatten(0, 1)
            seen = F.interpolate(seen, (8, 8), mode='bilinear', align_corners=False)
            batch = method.augmentation.draw()(torch.cat([real, (seen - data.mean) / data.std]))
            grads = []
            for part, graph in ((batch[: len(real)], False), (batch[len(real) :], True)):
                loss = F.cross_entropy(net(part), torch.full((len(part),), c))
                grads.append(torch.autograd.grad(loss, conv, create_graph=graph))
            loss = sum((syn - one.detach()).square().sum() for one, syn in zip(*grads, strict=True))
            losses.append(loss.item())
            optimizer_img.zero_grad(set_to_none=False)
            pixels.grad = torch.autograd.grad(loss, pixels)[0]
            optimizer_img.step()
        if step < method.outer_loop - 1:
            order = torch.randperm(len(data.labels_train), generator=rng.generator)[:48]
            for index in order.split(16):  # 40 in whole batches of 16
                images = method.inner_loop.augmentation.draw(16)(data.images(index))
                images, labels = method.inner_loop.mix(images, data.labels_train[index])
                optimizer.zero_grad()
                F.cross_entropy(net(images), labels).backward()
                optimizer.step()
    return pixels.detach(), losses


@pytest.mark.parametrize('compile', [False, True])
def test_an_iteration_equals_the_plain_loop(make, traced, compile):
    ours, plain = make(compile=compile), make()
    assert torch.equal(ours.image_syn, plain.image_syn)
    log, (pixels, losses) = ours.step(), plain_iteration(plain)
    assert log['loss'] == pytest.approx(np.mean(losses), rel=1e-4)
    moved = (pixels - make().image_syn).abs().max()
    assert moved > 0.01 and torch.allclose(ours.image_syn, pixels, atol=1e-4 * float(moved))
    assert torch.equal(ours.rng.generator.get_state(), plain.rng.generator.get_state())
    assert (log['batch_real'], log['inner_images']) == (20, 96)


def test_pixels_are_clamped_in_the_result_and_before_an_iteration(make):
    method = make(lr_img=3.0)
    begun = method.step(pause=lambda: True)
    assert begun is None and not (method.image_syn >= 0).all()
    images, labels = method.synset
    stored, own_labels = method.stored
    pixels = stored * method.data.std + method.data.mean
    assert pixels.min() > -1e-6 and pixels.max() < 1 + 1e-6
    assert torch.allclose(method.tiles.decode(stored), images)
    assert labels.tolist() == own_labels.repeat_interleave(4).tolist()
    while method.step(pause=lambda: True) is None:  # within an iteration nothing is clamped
        assert not (method.image_syn >= 0).all()
    seen = []
    method.match = lambda: seen.append(method.image_syn.clone())
    method.step(pause=lambda: True)
    assert (seen[0] >= 0).all() and (seen[0] <= 1).all()


SMALL_BATCHNORM = {
    'model': 'ConvNetBN', 'factor': 1, 'init': 'real', 'batch_real': 4, 'n_data': 8,
    'batch_train': 8,
}  # fmt: skip


@pytest.mark.parametrize(('name', 'keywords'), [('IDC', SMALL_BATCHNORM), ('DREAM', {})])
def test_a_paused_iteration_goes_on_in_another_instance(make, digits, name, keywords):
    def build(seed=0):
        sampler = RepresentativeSampler(digits, 20) if name == 'DREAM' else None
        return make(name, sampler=sampler, seed=seed, outer_loop=2, **keywords)

    straight, paused = build(), build()
    expected = [straight.step() for _ in range(2)]
    logs = []
    while len(logs) < 2:
        log = paused.step(pause=lambda: True)
        state = paused.state_dict()
        paused = build(seed=9)
        paused.load_state_dict(state)
        logs += [log] if log else []
    assert logs == expected and torch.equal(paused.image_syn, straight.image_syn)


def test_the_network_learns_from_real_images_between_steps(make, monkeypatch):
    calls = []
    monkeypatch.setattr(
        'methods.inner_loop.train_epoch',
        lambda step, images, labels, *rest: calls.append((len(images), rest)) or train_epoch(
            step, images, labels, *rest
        ),
    )  # fmt: skip
    method = make()
    before = {name: value.clone() for name, value in method.net.state_dict().items()}
    method.step()
    assert len(calls) == 2 and calls[0][0] == 1347  # none after the last step: nothing would use it
    batch, _, augmentation, mix, num = calls[0][1]
    assert (batch, num) == (16, 48) and augmentation.always == ['color', 'crop']
    assert mix.num_classes == 10
    assert any(not torch.equal(before[k], v) for k, v in method.net.state_dict().items())
    assert images_in_batches(500, 64, method.data) == 512
    assert images_in_batches(5000, 64, method.data) == 1347


def test_defaults_are_those_of_the_paper():
    args = parsed('--method IDC --ipc 10')
    expected = {
        'Iteration': 2000, 'outer_loop': 100, 'n_data': 2000, 'lr_img': 5e-3, 'lr_net': 0.01,
        'dis_metric': 'conv_mse', 'batch_real': 64, 'batch_train': 64, 'factor': 2, 'init': 'mix',
        'protocol': 'idc', 'draw': 'uniform',
    }  # fmt: skip
    values = vars(args)
    assert {key: values[key] for key in expected} == pytest.approx(expected)
    assert not args.changed and args.run_name.startswith('IDC_CIFAR10_ConvNet_10ipc_seed0_')
    grey = parsed('--method IDC --dataset FashionMNIST --ipc 1')
    assert (grey.dis_metric, grey.lr_img, grey.n_data) == ('conv_l1', pytest.approx(1e-5), 500)
    assert parsed('--method IDC --dataset MNIST --dis_metric conv_mse').lr_img == 5e-4
    assert parsed('--method IDC --factor 1').init == 'real'
    assert parsed('--method IDC --protocol dc').changed == {'protocol': 'dc'}
    assert parsed('--method IDC --protocol idc').run_name == parsed('--method IDC').run_name
    dream = parsed('--method DREAM')
    assert (dream.draw, dream.batch_real, dream.init) == ('representative', 128, 'representative')
    assert not dream.changed and dream.run_name.startswith('DREAM_')
    # The same by flags alone.
    flags = '--draw representative --batch_real 128 --init representative'
    assert parsed(f'--method IDC {flags}').changed.keys() == {'batch_real', 'draw', 'init'}
    assert parsed('--method DREAM --draw uniform').changed == {'draw': 'uniform'}


SHORT = '--dataset Digits --num_exp 1 --num_eval 1 --epoch_eval_train 1 --compile off'


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--method IDC --model MLP --factor 3 --dis_metric mse', '--factor 3 does not divide'),
        ('--method IDC --model MLP', '--dis_metric conv_mse compares convolutions, and MLP'),
        ('--method DC --model MLP --dis_metric conv_l1', 'compares convolutions, and MLP'),
        ('--method IDC --model ConvNetD1 --zca', '--zca: IDC keeps pixels in'),
        ('--method IDC --model ConvNetD1 --ipc 50', '--init mix needs 200 images'),
        ('--method IDC --n_data 0', 'at least 1'),
        ('--method IDC --outer_loop auto', '--outer_loop auto: --method IDC has no rule'),
        ('--method DC --n_data 100', '--n_data does nothing for --method DC; use it with IDM, IDC'),
        ('--method IDC --inner_loop 5', '--inner_loop does nothing for --method IDC'),
        ('--method DM --draw representative', 'use it with DC, DSA, IDC, DREAM'),
        ('--method DC --draw representative --layer_idx 3', '--layer_idx does nothing with --draw'),
        ('--method BS --draw representative', '--method BS means cluster batches'),
        ('--method random --protocol idc --batch_train 32', '--batch_train 32 does nothing with'),
    ],
)  # fmt: skip
def test_mistakes(line, message, tmp_path, capsys):
    error = error_of(main_script, [*SHORT.split(), *line.split(), '--save_path', tmp_path], capsys)
    assert message in error
    assert not list(tmp_path.iterdir())


def test_end_to_end_above_class_means_by_the_same_protocol(tmp_path):
    line = '--dataset Digits --model ConvNetD1 --ipc 5 --num_exp 1 --num_eval 2 --compile off'
    line += f' --epoch_eval_train 60 --save_path {tmp_path}'
    loops = '--Iteration 3 --outer_loop 6 --n_data 64 --eval_every 3'
    main_script.main(f'{line} --method IDC --factor 1 --lr_img 2 {loops}'.split())
    main_script.main(f'{line} --method mean --protocol idc'.split())
    paths = sorted(tmp_path.glob('*/res_*.pt'))
    idc, mean = (np.mean(load_result(path)['accs_all_exps']['ConvNetD1']) for path in paths)
    log = [json.loads(line) for line in (paths[0].parent / 'log.jsonl').read_text().splitlines()]
    start = np.mean(log[0]['accs']['ConvNetD1'])  # no steps
    assert log[0]['iteration'] == 0 and idc > start + 0.03 and idc > mean
