"""IDM: iterations against one plain loop, the queue, resume, batch norm, end to end on Digits."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import error_of

import main as main_script
from dataset.readers import dsa_strategy
from experiment.arguments import parse_condensing
from experiment.result import load_result
from methods import SHELF
from networks import make_network, redraw

SETTINGS = {
    'num_nets': 4, 'net_every': 2, 'n_data': 40, 'batch_train': 16, 'ce_weight': 0.02, 'ipc': 2,
    'init': 'real', 'batch_real': 20, 'dsa_strategy': dsa_strategy('CIFAR10'),
}  # fmt: skip


@pytest.fixture
def make(make_method):
    return lambda **keywords: make_method('IDM', **SETTINGS | keywords)


def plain_iterations(method, num):
    """Do iterations of IDM with a network object for each place of the queue, and whole batches.

    The generators are those of method, whose queue holds FIRST fresh networks; return the images.
    """
    data, rng, pool = method.data, method.rng, []

    def enter(weights=None):
        net = make_network('ConvNetD1', *data.shape[:1], data.num_classes, data.shape[1:])
        if weights is None:
            redraw(net, rng.generator)
        else:
            net.load_state_dict(weights)
        optimizer = torch.optim.SGD(net.parameters(), 0.01, momentum=0.9, weight_decay=5e-4)
        pool.append([net, optimizer, 0.0])

    known = method.net.state_dict()
    for network in method.networks.queue:
        enter({name: network[name] for name in known})
    images = method.image_syn.clone().requires_grad_()
    optimizer_img = torch.optim.SGD([images], 0.1, momentum=0.5)
    for iteration in range(num):
        if iteration % 2 == 0:
            enter()
            del pool[:-4]
        net, _, accuracy = pool[torch.randperm(len(pool), generator=rng.host_generator)[0]]
        net.eval()
        loss = 0
        for c in range(data.num_classes):
            real = data.images(method.sampler.draw(c, method.batch_real, rng, iteration))
            transform, syn = method.augmentation.draw(), images.chunk(data.num_classes)[c]
            seen = transform(syn)
            means = [net.embed(part).mean(0) for part in (transform(real).detach(), seen)]
            loss = loss + (means[0].detach() - means[1]).square().sum()
            labels = torch.full((len(syn),), c)
            loss = loss + 0.02 * 100 * accuracy * F.cross_entropy(net(seen), labels)
        optimizer_img.zero_grad()
        images.grad = torch.autograd.grad(loss, images)[0]
        optimizer_img.step()
        for place in torch.randperm(len(pool), generator=rng.host_generator)[:2]:
            net, optimizer, _ = pool[place]
            net.train()
            order = torch.randperm(len(data.labels_train), generator=rng.generator)[:48]
            for index in order.split(16):
                optimizer.zero_grad()
                F.cross_entropy(net(data.images(index)), data.labels_train[index]).backward()
                optimizer.step()
            net.eval()
            index = torch.randint(len(data.labels_train), (16,), generator=rng.generator)
            right = net(data.images(index)).argmax(1) == data.labels_train[index]
            pool[place][2] = right.float().mean()
    return images.detach()


@pytest.mark.parametrize('compile', [False, True])
def test_iterations_equal_the_plain_loop(make, traced, compile):
    ours, plain = make(compile=compile), make()
    logs, expected = [ours.step() for _ in range(7)], plain_iterations(plain, 7)
    moved = float((expected - make().image_syn).abs().max())
    assert moved > 0.01 and torch.allclose(ours.image_syn, expected, atol=1e-3 * moved)
    assert torch.equal(ours.rng.generator.get_state(), plain.rng.generator.get_state())
    assert {log['inner_images'] for log in logs} == {96} and logs[0]['batch_real'] == 20


def test_without_cross_entropy_it_is_another_step(make):
    plain, guided = make(ce_weight=0.0), make()
    for _ in range(5):
        plain.step(), guided.step()
    assert not torch.equal(plain.image_syn, guided.image_syn)


def test_the_oldest_network_leaves_and_others_learn(make):
    method = make(num_nets=3, net_every=5, ce_weight=0.0)
    queue = method.networks.queue
    first = queue[0]
    method.step()
    assert len(queue) == 3 and all(network is not first for network in queue)
    kept = list(queue)
    for _ in range(4):
        method.step()
    assert all(a is b for a, b in zip(queue, kept, strict=True))
    assert sum(float(network['accuracy']) > 0 for network in queue) >= 2
    assert all(network['momentum.classifier.weight'].any() for network in queue)


@pytest.mark.parametrize('keywords', [{'factor': 2, 'init': 'mix'}, {'model': 'ConvNetBN'}])
def test_state_goes_on_in_another_instance(make, keywords):
    method, other = make(**keywords), make(seed=9, **keywords)
    for _ in range(3):
        method.step()
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    for _ in range(3):
        assert method.step() == other.step()
    assert torch.equal(method.image_syn, other.image_syn)


@pytest.mark.parametrize('damage', ['none', 'missing', 'shape', 'nan'])
def test_a_damaged_queue_is_refused(make, damage):
    method = make()
    state = copy.deepcopy(method.state_dict())
    queue = state['networks']['queue']
    if damage == 'none':
        queue.clear()
    elif damage == 'missing':
        del queue[1]['accuracy']
    elif damage == 'shape':
        queue[1]['classifier.bias'] = torch.zeros(1)
    else:
        queue[1]['momentum.classifier.bias'][0] = torch.nan
    with pytest.raises(ValueError, match='networks|network of other shapes'):
        method.load_state_dict(state)


def test_batches_of_training_are_small_where_n_data_is(make):
    method = make(n_data=10, batch_train=256)
    assert (method.networks.batch_train, method.step()['inner_images']) == (10, 20)


def test_divergence_is_noticed(make):
    method = make(lr_img=1e38)
    with pytest.raises(FloatingPointError):
        for _ in range(5):
            method.step()


def test_defaults_are_those_of_the_public_code():
    def parsed(line):
        return parse_condensing('', ['--method', 'IDM', *line.split()], SHELF, 'uniform')

    args = parsed('--ipc 10')
    assert (args.Iteration, args.lr_img, args.init, args.factor) == (20000, 0.2, 'mix', 2)
    assert (args.num_nets, args.net_every, args.n_data, args.ce_weight) == (100, 30, 2560, 0.5)
    assert args.dsa_strategy == dsa_strategy('CIFAR10')
    assert parsed('--factor 1').init == 'real' and parsed('--ipc 50').ce_weight == 0.1


def test_end_to_end_above_random_images(tmp_path):
    line = '--dataset Digits --model ConvNetD1 --ipc 2 --num_exp 1 --num_eval 3 --protocol dc'
    line += f' --save_path {tmp_path} --epoch_eval_train 100'
    own = '--method IDM --factor 1 --init centres --num_nets 4 --net_every 40 --n_data 64'
    own += ' --batch_real 64 --ce_weight 0.02 --Iteration 100 --eval_every 0 --dsa_strategy None'
    main_script.main(f'{line} {own}'.split())
    main_script.main(f'{line} --method random'.split())
    accuracy = {}
    for path in tmp_path.glob('*/res_*.pt'):
        result = load_result(path)
        accuracy[result['args']['method']] = np.mean(result['accs_all_exps']['ConvNetD1'])
    assert accuracy['IDM'] > accuracy['random'] + 0.05


@pytest.mark.parametrize(
    ('flags', 'message'),
    [
        ('--num_nets 0', '--num_nets: '),
        ('--ce_weight -1', '--ce_weight: '),
        ('--net_every 0', '--net_every: '),
        ('--factor 3', '--factor 3'),
        ('--outer_loop 2', '--outer_loop does nothing for --method IDM'),
        ('--factor 1 --init mix', '--init mix shrinks real images to tiles'),
        ('--factor 1 --ipc 500', '--init real needs 500 images'),
        ('--method DM --num_nets 5', '--num_nets does nothing for --method DM; use it with IDM'),
    ],
)
def test_mistakes(flags, message, tmp_path, capsys):
    line = '--dataset Digits --model ConvNetD1 --method IDM --num_eval 1 --compile off'
    line += f' --save_path {tmp_path} {flags}'
    assert message in error_of(main_script, line.split(), capsys)
