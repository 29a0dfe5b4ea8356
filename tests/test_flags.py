"""Every flag of every script: a sensible value, or one line; no flag is ignored without a word."""

import itertools
import re

import pytest
import torch
from conftest import error_of

import bench
import main as main_script
import main_BS
import main_cluster
import main_eval
import main_report
from engine.device import set_up_device
from experiment.arguments import condensing_parser, parse_condensing
from experiment.flags import FLAGS, POINTLESS, REPLACES
from experiment.parser import Parser
from experiment.shelf import UNCLUSTERED, keywords_of, own_flags, spelled
from experiment.values import amount, loops, natural, pixels, positive, rate, several, share, word
from figures import clusters, curves, diagram, embedding, gradient_error, grid, study
from methods import METHODS, SHELF
from utils import UserError, script

# What a person, an unset variable or another program may leave behind a flag.
WORDS = ['0', '-1', 'nan', 'inf', '-inf', '1e308', '1e999', str(10**30), '9' * 5000, '1_000', '',
         ' 5', '٣', '5.0', '0x5', '½', 'word']  # fmt: skip
INTEGERS = {'1_000': 1000, ' 5': 5, '٣': 3}
# {how a flag is read: {word: value}}; any other word is refused.
SENSIBLE = {
    positive: INTEGERS,
    several: INTEGERS,
    pixels: INTEGERS,
    natural: INTEGERS | {'0': 0},
    loops: INTEGERS | {'0': 0},
    int: {'0': 0, '٣': 3},  # --layer_idx
    rate: INTEGERS | {'5.0': 5.0, str(10**30): 1e30},
    share: {'0': 0.0},
    amount: INTEGERS | {'0': 0.0, '5.0': 5.0, str(10**30): 1e30},
}
NUMERIC = [name for name, flag in FLAGS.items() if flag.type in SENSIBLE]
PARSER = condensing_parser('', SHELF)


def refused(call, *values):
    """Return the one line of the UserError that a call raises."""
    with pytest.raises(UserError) as error:
        call(*values)
    assert str(error.value) and '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize('name', NUMERIC)
def test_a_number_is_sensible_or_refused(name):
    sensible = SENSIBLE[FLAGS[name].type]
    for text in WORDS:
        if text in sensible:
            assert getattr(PARSER.parse_args([f'--{name}={text}']), name) == sensible[text]
        else:
            assert f'--{name}' in refused(PARSER.parse_args, [f'--{name}={text}'])


def test_every_flag_is_a_number_a_word_a_choice_or_a_switch():
    read = {*SENSIBLE, word, bool}
    others = {name for name, flag in FLAGS.items() if flag.type not in read}
    assert others == {'dsa_strategy'}  # the empty word is None, as in the original


@pytest.mark.parametrize(
    ('kind', 'most'),
    [
        (positive, 2**31 - 1),
        (natural, 2**31 - 1),
        (several, 100_000),
        (loops, 100_000),
        (pixels, 1024),
    ],
)  # fmt: skip
def test_integers_end_below_what_the_libraries_take(kind, most):
    assert kind(str(most)) == most
    with pytest.raises(Exception, match=f'must be an integer at least . and at most {most}'):
        kind(str(most + 1))


def test_rates_end_where_float32_does():
    assert torch.tensor(rate('3.4e37') / (1 - 0.9)).isfinite()
    with pytest.raises(Exception, match='above 0 and at most'):
        rate('3.5e38')
    with pytest.raises(Exception, match='at least 0 and below 1'):
        share('1')


def files(*words):
    return [*words, '--out', 'x.png']


# Numbers that scripts add themselves: {(script, flag): the rest of the line}.
OWN = {
    (bench, 'ipc'): [], (bench, 'ranks'): [], (bench, 'repeats'): [],
    (bench, 'seeds'): ['--to_accuracy'], (bench, 'num_eval'): ['--to_accuracy'],
    (main_report, 'Iteration'): files(),
    (gradient_error, 'classes'): files(), (gradient_error, 'repeats'): files(),
    (embedding, 'class_idx'): files('x.pt'), (embedding, 'num_real'): files('x.pt'),
    (clusters, 'class_idx'): files(), (diagram, 'class_idx'): files('x.pt'),
    (grid, 'num'): files('x.pt'), (curves, 'window'): files('loss', 'run'),
    (study, 'ipc'): [], (study, 'num_cluster'): [], (study, 'class_idx'): [],
    (main_cluster, 'num_cluster'): [], (main_cluster, 'layer_idx'): [],
    (main_eval, 'num_exp'): ['--synset', 'random'],
}  # fmt: skip


@pytest.mark.parametrize(('module', 'flag'), OWN)
def test_numbers_of_scripts_are_refused_alike(module, flag, capsys):
    for text in set(WORDS) - INTEGERS.keys() - {'0'}:
        error = error_of(module, [*OWN[module, flag], f'--{flag}={text}'], capsys)
        assert f'--{flag}' in error


NAMES = [name for name, flag in FLAGS.items() if flag.type is word]


@pytest.mark.parametrize('name', NAMES)
def test_an_empty_word_is_no_name(name):
    assert f'argument --{name}: the word is empty' in refused(PARSER.parse_args, [f'--{name}', ''])


@pytest.mark.parametrize(
    ('module', 'line'),
    [
        (main_script, ['--dataset', '']), (main_BS, ['--save_path', '']),
        (main_cluster, ['--extractor', '']), (main_eval, ['--synset', '']),
        (main_eval, ['--synset', 'random', '--csv', '']), (main_report, ['--results', '']),
        (main_report, ['--out', '']), (main_report, ['--readme', '']),
        (main_report, ['--keep', '']), (bench, ['--out', '']),
        (bench, ['--reference', '']), (bench, ['--dataset', '']),
        (bench, ['--data_path', '']), (bench, ['--device', '']), (bench, ['--save_path', '']),
        (gradient_error, ['--out', '']),
    ],
)  # fmt: skip
def test_an_empty_word_is_one_line(module, line, capsys):
    assert 'the word is empty; type a name or a path' in error_of(module, line, capsys)


@pytest.mark.parametrize('device', ['cpu:3', 'cpu:1', 'CPU', '0', '-1', 'gpu', 'meta'])
def test_a_device_that_is_not_there(device):
    assert f'--device {device}' in refused(set_up_device, device, 'fp32')


@pytest.mark.parametrize(
    ('device', 'words'),
    [('cuda:0,1', 'by torchrun'), ('gpu', 'such as cpu, cuda or cuda:1'),
     ('cuda:99', 'PyTorch finds'), ('cuda:99', '--device cpu can')],
)  # fmt: skip
def test_why_a_device_is_none_is_said_in_our_words(device, words):
    assert words in refused(set_up_device, device, 'fp32')


def test_the_cpu_is_a_device():
    assert {set_up_device(name, 'fp32').type for name in ('cpu', 'cpu:0')} == {'cpu'}


@pytest.mark.parametrize('error', [MemoryError(), MemoryError('\nx'), MemoryError('')])
def test_a_message_about_memory_is_never_empty(error, capsys):
    def main(argv):
        raise error

    with pytest.raises(SystemExit):
        script(main)([])
    assert capsys.readouterr().err.startswith('error: out of memory; ')


def test_typed_flags_are_those_of_the_line():
    parser = Parser('', ('seed', 'mix', 'tensorboard', 'norm'))
    parser.add_argument('--own', default=3)
    assert parser.typed([]) == set()
    line = '--seed 0 --mix --tensorboard --no-norm --own 3'
    assert parser.typed(line.split()) == {'seed', 'mix', 'tensorboard', 'norm', 'own'}


# A word that each flag takes, and is no default of it.
SAMPLE = {
    'layer_idx': '2', 'extractor': 'x.pt', 'extractor_epochs': '7', 'feature_net': 'PCA',
    'num_cluster': '3', 'norm': None, 'mix': '7', 'schedule': 'adaptive', 'momentum_net': '0.5',
    'inner_loop': '3', 'outer_loop': '1', 'n_data': '64',
}  # fmt: skip


def typed(name):
    if FLAGS[name].type is bool:
        return f'--no-{name}' if FLAGS[name].default else f'--{name}'
    return f'--{name} {SAMPLE[name]}'


def condensing(line, draw='uniform'):
    return parse_condensing('', line.split(), SHELF, draw)


@pytest.mark.parametrize(
    ('flag', 'useless'), [(flag, name) for flag, names in REPLACES.items() for name in names]
)
def test_a_flag_that_another_replaces_is_refused(flag, useless):
    line = f'{typed(flag)} {typed(useless)}'
    error = refused(condensing, line, 'cluster')
    assert f'--{useless} does nothing with --{flag} {SAMPLE[flag]}' in error
    assert condensing(typed(flag), 'cluster') and condensing(typed(useless), 'cluster')


@pytest.mark.parametrize(('flag', 'other', 'value'), POINTLESS)
def test_a_flag_that_another_value_makes_pointless_is_refused(flag, other, value):
    method = '--method IDC' if flag == 'n_data' else '--method DC'
    line = f'{method} --ipc 10 --{other} {value} {typed(flag)}'
    assert f'{typed(flag)} does nothing with --{other} {value}' in refused(condensing, line)
    assert condensing(f'{method} --ipc 10 {typed(flag)}')


@pytest.mark.parametrize('method', ['DC', 'DSA', 'CAFE'])
def test_epochs_of_a_network_that_is_not_trained_are_refused(method):
    line = f'--method {method} --ipc 1 --outer_loop 1 --inner_loop'
    assert '--inner_loop 50 does nothing with --outer_loop 1' in refused(condensing, f'{line} 50')
    # What the presets have, and what is said of no training at all, is no mistake.
    assert [condensing(f'{line} {number}').inner_loop for number in (0, 1)] == [0, 1]
    auto = '--ipc 1 --outer_loop auto --inner_loop auto'
    assert condensing(auto).inner_loop == 1
    # One outer loop is the default of ipc 1.
    if method != 'CAFE':
        assert 'does nothing' in refused(condensing, f'--method {method} --ipc 1 --inner_loop 2')


CLUSTERED = sorted(keywords_of(SHELF.sampler) - own_flags(METHODS['DC']) - {'draw'})
CLUSTERED = [name for name in CLUSTERED if FLAGS[name].kind == 'clusters']


@pytest.mark.parametrize('flag', CLUSTERED)
def test_flags_of_clusters_are_refused_without_clusters(flag):
    for line, draw in ((typed(flag), 'uniform'), (f'{typed(flag)} --draw uniform', 'cluster')):
        assert f'--{flag} does nothing with --draw uniform' in refused(condensing, line, draw)
    assert condensing(typed(flag), 'cluster')


LEARNERS = [name for name, method in METHODS.items() if 'draw' in own_flags(method)]


@pytest.mark.parametrize(('method', 'draw'), [*itertools.product(LEARNERS, UNCLUSTERED)])
def test_a_method_of_clusters_contradicts_a_draw_of_whole_classes(method, draw):
    line = f'--method {spelled(method, "cluster")} --draw {draw}'
    assert f'--draw {draw} does not; use --method {method}' in refused(condensing, line)


@pytest.mark.parametrize('method', [name for name in METHODS if name not in LEARNERS])
def test_a_method_that_sees_no_batches_has_no_draw(method):
    assert f'--method {method} sees no batches' in refused(
        condensing, f'--method {method}', 'cluster'
    )
    line = f'--method {method} --draw stratified'
    assert f'--draw does nothing for --method {method}' in refused(condensing, line)


@pytest.mark.parametrize(
    ('recipe', 'method'),
    [pair for pair in itertools.product(SHELF.recipes, METHODS)
     if pair[1] not in SHELF.recipes[pair[0]]],
)  # fmt: skip
def test_a_recipe_is_refused_by_a_method_that_has_none(recipe, method):
    error = refused(condensing, f'--method {method} --recipe {recipe}')
    assert f'--recipe {recipe} is none for --method {method}' in error


@pytest.fixture
def sets(tmp_path, digits):
    """Return the path of a file with two sets."""
    pair = [torch.zeros(10, 1, 8, 8), torch.arange(10)]
    torch.save({'data': [pair, pair], 'args': {'dataset': 'Digits'}}, tmp_path / 'res.pt')
    return tmp_path / 'res.pt'


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('--ipc 5', '--ipc 5 does nothing with files'),
        ('--ipc 1', '--ipc 1 does nothing with files'),  # the default, typed
        ('--num_exp 3', r'--num_exp 3 is more than \S*res.pt holds \(2 sets\)'),
        ('--num_exp 5', r'--num_exp 5 is more than \S*res.pt holds \(2 sets\)'),
        ('--lr_img 3', 'unrecognized arguments: --lr_img 3'),
        ('--method DC', 'unrecognized arguments: --method DC'),
    ],
)
def test_what_a_file_of_sets_decides_is_not_typed(words, message, sets, capsys, monkeypatch):
    monkeypatch.setattr(main_eval, 'evaluate_sets', None)
    line = ['--dataset', 'Digits', '--synset', sets, '--model', 'MLP', *words.split()]
    assert re.search(message, error_of(main_eval, line, capsys))


@pytest.mark.parametrize(
    ('words', 'sizes'), [('', [2]), ('--num_exp 2', [2]), ('--num_exp 1', [1])]
)
def test_what_a_file_of_sets_leaves_open_is_taken(words, sizes, sets, monkeypatch):
    seen = []
    monkeypatch.setattr(main_eval, 'evaluate_sets', lambda sets, *_: seen.append(len(sets)))
    monkeypatch.setattr(main_eval, 'NetworksTable', lambda results: None)
    line = f'--dataset Digits --model MLP --synset {sets} {words}'
    main_eval.main(line.split())
    assert seen == sizes


def test_random_sets_beside_a_file_take_their_number_of_images(sets):
    parser = main_eval.make_parser()
    line = ['--synset', str(sets), 'random', '--ipc', '5']
    main_eval.check_flags(parser.parse_args(line), parser.typed(line))


def test_a_strategy_that_a_file_names_is_tried_first(sets, capsys, monkeypatch):
    content = torch.load(sets, weights_only=True)
    content['args']['dsa_strategy'] = 'swirl'
    torch.save(content, sets)
    monkeypatch.setattr(main_eval, 'evaluate_sets', None)
    error = error_of(main_eval, ['--dataset', 'Digits', '--synset', sets], capsys)
    assert "unknown operation 'swirl'" in error


USELESS = [
    (bench, f'--to_accuracy {words}', 'with --to_accuracy')
    for words in ('--precision fp32', '--only_match', '--compile off', '--no-textbook',
                  '--ranks 1')
]  # fmt: skip
USELESS += [
    (bench, words, 'without --to_accuracy')
    for words in ('--recipe fast', '--seeds 1', '--num_eval 20', '--save_path results')
]
USELESS += [(bench, '--to_accuracy --repeats 3', 'without --reference')]
USELESS += [
    (bench, f'--ranks 1 {words}', 'with --ranks') for words in ('--reference x', '--textbook')
]
USELESS += [
    (main_report, f'--keep x {words}', 'with --keep')
    for words in ('--results x', '--out x', '--dataset CIFAR10')
]
USELESS += [
    (main_report, '--results x y --out x.md', 'with two folders'),
    (main_report, '--dataset CIFAR10', 'without --out'),
    (main_report, '--model ConvNet', 'without --out'),
    (main_report, '--Iteration 1000', 'without --out'),
]


@pytest.mark.parametrize(('module', 'line', 'why'), USELESS)
def test_what_a_script_would_ignore_is_refused(module, line, why, capsys, monkeypatch):
    monkeypatch.setattr(module, 'collect' if module is main_report else 'load_dataset', None)
    error = error_of(module, line.split(), capsys)
    assert f'does nothing {why}' in error


@pytest.mark.parametrize(
    ('line', 'why'),
    [('--method DM', 'without --to_accuracy has only DC, BS, DSA'),
     ('--to_accuracy --method DC BS', '--recipe fast has only DC, IDC, IDM')],
)  # fmt: skip
def test_a_method_that_a_benchmark_lacks_is_refused(line, why, capsys):
    assert why in error_of(bench, line.split(), capsys)
