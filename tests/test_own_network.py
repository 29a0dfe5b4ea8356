"""--model file.py:builder: networks of the docs work in every method; what cannot is one line."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

import main as main_script
import main_eval
from engine.own_network import own_network
from evaluation.protocol import eval_pool
from experiment.arguments import parse_condensing
from experiment.flags import FLAGS
from methods import SHELF
from networks import has_batchnorm, make_network, redraw
from tests.test_go_on import assert_at_once, outcome
from utils import UserError

DOCS = (Path(__file__).parents[1] / 'docs/own_network.md').read_text()
BLOCKS = re.findall(r'```python\n(.*?)```', DOCS, re.DOTALL)
SHORT = (
    '--dataset Digits --ipc 1 --num_exp 1 --num_eval 1 --epoch_eval_train 1 --compile off '
    '--device cpu --precision fp32'
)


@pytest.fixture
def own(tmp_path):
    """Return a function that writes a file, and returns its path with a builder."""

    def write(source, builder='builder', name='own.py'):
        (tmp_path / name).write_text(source)
        return f'{tmp_path / name}:{builder}'

    return write


SMALL = BLOCKS[0]


def run(path, model, words, script=main_script):
    script.main([*SHORT.split(), *words.split(), '--model', model, '--save_path', str(path)])
    return torch.load(next(Path(path).glob('*/res_*.pt')), weights_only=True)


@pytest.mark.parametrize(('block', 'builder'), [(0, 'small'), (1, 'resnet'), (1, 'mobilenet')])
def test_the_networks_of_the_docs_are_built(block, builder, own):
    name = own_network(own(BLOCKS[block], builder))
    assert re.fullmatch(rf'{builder}-[0-9a-f]{{8}}', name)
    net = make_network(name, 1, 10, (16, 16), torch.Generator().manual_seed(3))
    images = torch.randn(4, 1, 16, 16)
    assert net(images).shape == (4, 10) and net.embed(images).shape == (4, net.embed_size)
    assert next(net.parameters()).device.type == 'cpu'
    assert eval_pool('S', name) == eval_pool('SS', name) == (name,)


@pytest.mark.parametrize(
    'words',
    [
        '--Iteration 2 --outer_loop 2 --inner_loop 1',
        '--Iteration 2 --method DSA --level both --outer_loop 1',
        '--Iteration 2 --method DM',
        '--Iteration 2 --method DD --inner_loop 1',
        '--method random --eval_mode SS',
    ],
)
def test_every_method_takes_it(words, own, tmp_path):
    result = run(tmp_path / 'runs', own(SMALL, 'small'), words)
    (folder,) = (tmp_path / 'runs').iterdir()
    assert re.search(r'_Digits_small-[0-9a-f]{8}_1ipc_', folder.name)
    (network,) = result['accs_all_exps']
    assert network == result['args']['model'] and network.startswith('small-')


@pytest.mark.parametrize(
    ('builder', 'words'),
    [
        ('resnet', '--Iteration 1 --outer_loop 2 --inner_loop 1 --batch_real 4'),
        ('mobilenet', '--Iteration 1 --method DM --batch_real 4'),
    ],
)
def test_torchvision_on_a_few_digits(builder, words, own, tmp_path, digits):
    few = {'x_train': digits.pixels_train[:90, 0].numpy(), 'y_train': digits.labels_train[:90] % 2}
    few |= {'x_test': few['x_train'][:30], 'y_test': few['y_train'][:30]}
    np.savez(tmp_path / 'few.npz', **few)
    words += f' --dataset {tmp_path}/few.npz --im_size 16 --eval_every 0'
    result = run(tmp_path / 'runs', own(BLOCKS[1], builder), words)
    assert result['data'][0][0].shape == (2, 1, 16, 16)


def test_an_evaluation_takes_it_and_repeats(own, tmp_path):
    model = own(SMALL, 'small')
    results = [
        run(tmp_path / str(number), model, '--synset random', main_eval) for number in range(2)
    ]
    assert results[0]['accs_all_exps'] == results[1]['accs_all_exps']


def test_a_run_goes_on_and_a_changed_file_is_another_run(own, tmp_path, capsys):
    model, path = own(SMALL, 'small'), tmp_path / 'runs'
    words = '--Iteration {} --outer_loop 1 --inner_loop 1 --eval_every 0'
    run(path, model, words.format(2))
    run(path, model, words.format(3))
    assert 'goes on from' in capsys.readouterr().out
    run(tmp_path / 'once', model, words.format(3))
    assert_at_once(outcome(tmp_path / 'once', (3, 1, 1)), outcome(path, (3, 1, 1)))
    # From another place it is the same run; with other content it is not.
    moved = own(SMALL, 'small', 'moved.py')
    run(path, moved, words.format(3))
    assert 'is finished' in capsys.readouterr().out
    own(f'{SMALL}\n# changed\n', 'small')
    run(path, model, words.format(3))
    text = capsys.readouterr().out
    assert 'is finished' not in text and 'goes on from' not in text
    assert len(list(path.iterdir())) == 3


PARAMETER = """
import torch
from torch import nn
from networks import Network

class Shift(nn.Module):
    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(64))
        self.register_buffer('scale', torch.arange(64) / 64)
    {reset}
    def forward(self, features):
        return features * self.scale + self.shift

def builder(channel, num_classes, im_size):
    flat = channel * im_size[0] * im_size[1]
    return Network(nn.Sequential(nn.Flatten(), Shift()), flat, num_classes)
"""
RESET = """
    def reset_parameters(self):
        nn.init.normal_(self.shift)
"""


def test_its_own_weights_are_drawn_by_our_generator_and_constants_stay(own):
    name = own_network(own(PARAMETER.replace('{reset}', RESET)))
    state = torch.get_rng_state()
    nets = [make_network(name, 1, 10, (8, 8), torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    first, same, other = (net.features[1].shift for net in nets)
    assert torch.equal(first, same) and not torch.equal(first, other) and first.std() > 0.5
    assert torch.equal(nets[0].features[1].scale, torch.arange(64) / 64)
    assert torch.equal(torch.get_rng_state(), state)
    redraw(nets[1], torch.Generator().manual_seed(2))
    assert not torch.equal(first, nets[1].features[1].shift)


def network(layers, before='', classes='num_classes'):
    """Return the source of a network with these layers before its last."""
    return (
        f'import torch\nfrom torch import nn\nfrom networks import Network\n{before}\n'
        'def builder(channel, num_classes, im_size):\n'
        '    flat = channel * im_size[0] * im_size[1]\n'
        f'    return Network(nn.Sequential({layers}), flat, {classes})\n'
    )


NO_NETWORK = 'def builder(channel, num_classes, im_size):\n    return {}\n'
WRONG = {
    'no module': (NO_NETWORK.format('3'), 'returns a int, it should return an nn.Module'),
    'no embed': (
        'from torch import nn\n' + NO_NETWORK.format('nn.Linear(3, 3)'),
        r'Linear has no embed\(images\).*Network\(features, num_features, num_classes\)',
    ),
    'raises': ('def builder(*_):\n    raise KeyError("x")', 'builder fails.*KeyError'),
    'takes other arguments': ('def builder(classes):\n    return 3', 'builder fails.*TypeError'),
    'is no function': ('builder = 3', 'has a int, no function, of the name .builder.'),
    'is not there': ('', "has no function of the name 'builder'.*docs/own_network.md"),
    'no Python': ('def builder(', 'cannot be run: SyntaxError'),
    'import': ('import nowhere_to_be_found', 'cannot be run: ModuleNotFoundError'),
    'its own weights': (PARAMETER.replace('{reset}', ''), r"'features.1' \(Shift\).*reset_param"),
    'dropout': (network('nn.Flatten(), nn.Dropout()'), 'differ in training, as with dropout'),
    'outputs': (network('nn.Flatten()', classes='3'), r'forward returns \(4, 3\).*\(4, 10\)'),
    'size': (network('nn.Flatten(), nn.Linear(5, 64)'), 'fails on images of 4x1x8x8: RuntimeError'),
    'ends itself': ('import sys\nsys.exit(0)', 'cannot be run: SystemExit: 0'),
    'a fixed batch': (
        network('nn.Unflatten(1, (1, 1)), nn.Flatten(), View()', 'class View(nn.Module):\n'
                '    def forward(self, images):\n        return images.view(4, -1)\n'),
        'takes 4 images, but fails on 3: RuntimeError',
    ),
    'infinite': (
        network('nn.Flatten(), nn.Threshold(9, float("inf"))'), 'are NaN or infinite'
    ),
    'in two places': (
        network('nn.Flatten(), *2 * [nn.Linear(64, 64)]'), r"'features.2' \(Linear\) is in two"
    ),
    'frozen': (
        network('nn.Flatten(), nn.Linear(64, 64).requires_grad_(False)'),
        'features.1.weight is frozen',
    ),
    'unused': (
        network('Two()', 'class Two(nn.Flatten):\n    def __init__(self):\n'
                '        super().__init__()\n        self.more = nn.Linear(2, 2)'),
        'features.0.more.weight has no part in the output',
    ),
    'wrong derivative': (
        network('nn.Conv2d(1, 4, 1), nn.LayerNorm([4, 8, 8]), nn.Conv2d(4, 1, 1), nn.Flatten()'),
        'forward derivative of a layer is wrong.*LayerNorm of networks.py',
    ),
}  # fmt: skip


@pytest.mark.parametrize('case', WRONG)
def test_what_is_wrong_is_one_line_before_the_run(case, own, tmp_path, capsys):
    source, message = WRONG[case]
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path / 'runs', own(source), '--Iteration 1')
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and error.count('\n') == 1 and re.search(message, error), error
    assert not (tmp_path / 'runs').exists()


def test_a_file_may_have_data_classes(own):
    before = 'from dataclasses import dataclass\n@dataclass\nclass Settings:\n    width: int = 4\n'
    source = 'from __future__ import annotations\n' + network('nn.Flatten()', before)
    assert make_network(own_network(own(source)), 1, 10, (8, 8))


def test_dropout_at_rate_0_is_fine(own):
    assert make_network(own_network(own(network('nn.Flatten(), nn.Dropout(0)'))), 1, 10, (8, 8))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('nowhere/own.py:builder', 'no such file of a network'),
        ('own.py', 'names no builder'),
        ('own:builder', 'is path/to/file.py:builder'),
    ],
)
def test_a_typed_place_that_is_none(text, message):
    with pytest.raises(UserError, match=message):
        parse_condensing('', ['--model', text], SHELF, 'uniform')


def test_batch_norm_of_features_counts_as_batch_norm(own, digits, make_method):
    name = own_network(own(network('nn.Flatten(), nn.BatchNorm1d(64)')))
    method = make_method('DC', model=name, level='intra')
    assert has_batchnorm(method.net) and method.step() is not None
    with pytest.raises(UserError, match='without batch norm'):
        make_method('DD', model=name)


def test_a_word_in_a_file_runs_no_code(own):
    """What a summary or a result file holds is a word, whatever it looks like."""
    model = own('raise KeyboardInterrupt')
    assert FLAGS['model'].type(model) == model


LIMITED = """
from torch import nn
from networks import Network

class Limited(nn.Module):
    def forward(self, images):
        if len(images) > 50:
            raise ValueError('no more than 50 images')
        return images.flatten(1)

def builder(channel, num_classes, im_size):
    return Network(nn.Sequential(Limited(), nn.Linear(64, 8), nn.ReLU()), 8, num_classes)
"""


@pytest.mark.parametrize('words', ['--method DC --Iteration 1 --eval_every 0', '--method random'])
def test_what_fails_on_large_batches_is_one_line(words, own, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        run(tmp_path / 'runs', own(LIMITED), words)
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and 'bug' not in error and 'Traceback' not in error
    assert re.search(r'error: .*own.py, line 8: ValueError: no more than 50 images;', error)
