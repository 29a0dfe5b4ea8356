"""Flags: spelling and defaults of the original, typed wins over derived, names of runs."""

import pytest
import torch

from engine.device import fast_precision
from experiment import flags
from experiment.arguments import Arguments, parse, parse_condensing
from experiment.flags import FLAGS, KINDS
from experiment.parser import Parser
from experiment.shelf import own_flags
from methods import METHODS, SHELF
from methods.presets import LOOPS, loops_between
from utils import UserError


def arguments(line='', draw='uniform'):
    return parse_condensing('test', line.split(), SHELF, draw)


def test_defaults_of_the_original():
    expected = {
        'method': 'DC', 'dataset': 'CIFAR10', 'model': 'ConvNet', 'ipc': 1, 'eval_mode': 'S',
        'num_exp': 5, 'num_eval': 20, 'Iteration': 1000, 'lr_img': 0.1, 'lr_net': 0.01,
        'batch_real': 256, 'init': 'noise', 'batch_train': 256, 'data_path': 'data',
        'save_path': 'results', 'dis_metric': 'ours', 'outer_loop': 1, 'inner_loop': 1, 'seed': 0,
        'draw': 'uniform', 'eval_every': 500,
    }  # fmt: skip
    values = vars(arguments())
    assert {key: values[key] for key in expected} == expected
    clustered = {'draw': 'cluster', 'layer_idx': 1, 'num_cluster': 20, 'norm': True, 'mix': None}
    values = vars(arguments(draw='cluster')) | {'cluster_path': 'clustering'}
    assert {key: values[key] for key in clustered} == clustered


@pytest.mark.parametrize('ipc', LOOPS)
def test_loops_by_ipc(ipc):
    args = arguments(f'--ipc {ipc}')
    assert (args.outer_loop, args.inner_loop) == LOOPS[ipc]
    assert arguments(f'--ipc {ipc} --outer_loop 2 --inner_loop 3').inner_loop == 3
    published = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
    assert published == LOOPS


def test_loops_between_the_presets():
    """auto is the preset where there is one, else on the line between its neighbours."""
    auto = '--outer_loop auto --inner_loop auto'
    for ipc, loops in (LOOPS | {5: (5, 23), 15: (15, 38), 45: (45, 13), 100: (50, 10)}).items():
        args = arguments(f'--ipc {ipc} {auto}')
        assert (args.outer_loop, args.inner_loop) == loops
        typed = arguments(f'--ipc {ipc} --outer_loop {loops[0]} --inner_loop {loops[1]}')
        assert args.run_name == typed.run_name
    # Both parts of the rule rise or fall all the way between two presets.
    inner = [loops_between(ipc)[1] for ipc in range(1, 60)]
    assert inner[:10] == sorted(inner[:10]) and inner[9:] == sorted(inner[9:], reverse=True)
    assert [loops_between(ipc)[0] for ipc in range(1, 51)] == list(range(1, 51))


def test_derived_values():
    assert arguments('--model MLP').lr_img == 0.01
    dsa = arguments('--method DSA')
    assert (dsa.init, dsa.dsa_strategy) == ('real', 'color_crop_cutout_flip_scale_rotate')
    strategy = arguments('--method DSA --dataset SVHN').dsa_strategy
    assert strategy == 'color_crop_cutout_scale_rotate'
    assert arguments('--device cuda:1').precision == 'tf32'
    assert arguments('--reduce mask').mask_quantile == 0.9975
    assert arguments().mask_quantile is None


@pytest.mark.parametrize(('has_bf16', 'precision'), [(True, 'bf16'), (False, 'fp32')])
def test_precision_on_a_cpu_is_what_it_has(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: has_bf16)
    assert arguments('--device cpu').precision == precision
    assert arguments('--device cpu --precision tf32').precision == 'tf32'


@pytest.mark.parametrize(
    'typed',
    [
        ('epoch_eval_train', 42), ('outer_loop', 3), ('inner_loop', 0), ('lr_img', 0.5),
        ('init', 'noise'), ('dsa_strategy', 'None'), ('precision', 'bf16'),
    ],
)  # fmt: skip
def test_a_typed_flag_always_wins(typed):
    flag, value = typed
    assert getattr(arguments(f'--method DSA --model MLP --{flag} {value}'), flag) == value


def test_run_names_tell_experiments_apart_and_ignore_places():
    lines = ['', '--method DSA', '--ipc 10', '--seed 1', '--lr_img 0.2', '--Iteration 200']
    lines += ['--num_eval 5', '--model MLP', '--dataset MNIST', '--precision tf32']
    lines += [
        '--dis_metric mse',
        '--im_size 16',
        '--draw cluster',
        '--draw equal',
        '--method BS-DSA',
    ]
    names = [arguments(line).run_name for line in lines]
    usual = f'_ConvNet_1ipc_seed0_{fast_precision("cpu")}'
    assert len(set(names)) == len(lines) and names[0] == f'DC_CIFAR10{usual}'
    assert names[4] == f'DC_CIFAR10{usual}_lr_img=0.2'
    same = ['--lr_img 0.1', '--save_path x', '--data_path x', '--device cpu', '--outer_loop 1']
    assert {arguments(line).run_name for line in [*same, '--tensorboard']} == {names[0]}
    assert arguments('--dataset my/own.npz').run_name == f'DC_own{usual}'


def test_a_run_stores_what_differs_from_the_defaults_of_its_method():
    assert arguments('--method DSA --init real --seed 3').changed == {}
    args = arguments('--ipc 15 --outer_loop 3 --inner_loop 2 --save_path x --num_exp 2')
    assert args.changed == {'outer_loop': 3, 'inner_loop': 2, 'num_exp': 2}
    # A quantile that follows from the reduction is not typed a second time in the name.
    assert arguments('--reduce mask').changed == {'reduce': 'mask'}


def test_one_experiment_has_one_name_however_it_is_spelled():
    lines = [('--method BS', 'uniform'), ('--draw cluster', 'uniform'), ('', 'cluster')]
    names = {arguments(line, draw).run_name for line, draw in lines}
    assert len(names) == 1 and names.pop().startswith('BS_CIFAR10_ConvNet_1ipc')
    lines = [
        ('--method BS-DSA --draw stratified', 'uniform'),
        ('--method DSA --draw stratified', 'cluster'),
    ]
    args = [arguments(line, draw) for line, draw in lines]
    assert args[0].run_name == args[1].run_name and args[0].changed == {'draw': 'stratified'}
    assert (args[0].method, args[0].draw) == ('DSA', 'stratified')
    assert 'draw' not in vars(arguments('--method herding'))


def test_a_run_has_one_name_whether_its_precision_is_typed_or_the_machines_own(monkeypatch):
    typed = arguments('--precision bf16 --lr_img 0.2').run_name
    assert typed == 'DC_CIFAR10_ConvNet_1ipc_seed0_bf16_lr_img=0.2'
    for own in ('bf16', 'fp32'):
        monkeypatch.setattr(flags, 'fast_precision', lambda device, own=own: own)
        assert arguments('--precision bf16 --lr_img 0.2').run_name == typed
        assert (arguments('--lr_img 0.2').run_name == typed) == (own == 'bf16')


def test_mix_without_a_number_is_the_originals():
    lines = ['', '--mix', '--mix 7']
    assert [arguments(line, 'cluster').mix for line in lines] == [None, 300, 7]


def test_arguments_are_frozen():
    args = arguments()
    with pytest.raises(AttributeError, match='frozen'):
        args.ipc = 3
    assert isinstance(args.replaced(ipc=3), Arguments) and args.ipc == 1


def test_every_flag_has_a_kind_and_every_method_takes_flags_of_the_table():
    assert {flag.kind for flag in FLAGS.values()} == set(KINDS)
    for method in METHODS.values():
        assert own_flags(method) <= FLAGS.keys()


def test_a_method_without_defaults_is_complete():
    class Toy:
        def __init__(self, data, sampler, *, ipc, lr_img, rng):
            pass

        def step(self, pause):
            pass

    shelf = SHELF._replace(methods=METHODS | {'toy': Toy})
    with pytest.raises(UserError, match='--method toy has no default for --lr_img: type it'):
        parse_condensing('', ['--method', 'toy'], shelf, 'uniform')
    args = parse_condensing(
        '', ['--method', 'toy', '--ipc', '2', '--lr_img', '1'], shelf, 'uniform'
    )
    assert (args.Iteration, args.eval_every) == (1000, 500)
    Toy.__init__.__kwdefaults__ = {'lr_img': 3}  # a keyword with a default is no flag
    with pytest.raises(UserError, match='--lr_img does nothing for --method toy'):
        parse_condensing('', ['--method', 'toy', '--lr_img', '1'], shelf, 'uniform')


def test_a_keyword_that_is_no_flag_is_named():
    class Toy:
        def __init__(self, data, sampler, *, ipc, temperature, rng):
            pass

    with pytest.raises(UserError, match="Toy takes 'temperature', which is no flag: add a row"):
        own_flags(Toy)


def test_scripts_without_methods_fill_the_table_s_defaults():
    parser = Parser('', ('layer_idx', 'num_cluster', 'norm', 'seed'), several=('layer_idx',))
    args = parse(parser, ['--layer_idx', '0', '3', '--no-norm'])
    assert (args.layer_idx, args.num_cluster, args.norm, args.seed) == ([0, 3], 20, False, 0)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--method DCC', "--method.*'DCC'.*DC.*DSA"),
        ('--model ConvNett', "'ConvNett'.*ConvNetW256"),
        ('--dis_metric l1', "'l1'.*ours.*mse.*cos"),
        ('--eval_mode X', "'X'.*SS"),
        ('--ipc 0', "--ipc: '0' must be an integer at least 1"),
        ('--ipc -3', 'at least 1'),
        (
            '--ipc 15',
            'no preset loops.*--outer_loop auto.* and --inner_loop.*1, 10, 20, 30, 40, 50',
        ),
        ('--ipc 15 --outer_loop 3', r'no preset loops; pass --inner_loop auto \(that is 38\) or'),
        ('--ipc 5', r'pass --outer_loop auto \(that is 5\) and --inner_loop auto \(that is 23\)'),
        ('--ipc 5 --outer_loop auto', r'; pass --inner_loop auto \(that is 23\) or a number'),
        ('--ipc 3 --recipe mda', r'pass --outer_loop auto \(that is 3\) or a number, or use'),
        ('--method DD --inner_loop 3 --ipc 2 --lr_img 1e38', 'at most 3.4e[+]37'),
        ('--method DD --inner_loop auto', '--inner_loop auto: --method DD has no rule for it'),
        ('--method DM --inner_loop auto', '--inner_loop does nothing for --method DM'),
        ('--outer_loop automatic', "'automatic' must be an integer"),
        ('--lr_img nan', 'must be a number above 0'),
        ('--lr_img 0', 'must be a number above 0'),
        ('--num_eval x', 'must be an integer'),
        ('--epoch_eval_train 0', 'at least 1'),
        ('--method DC --dsa_strategy flip', 'does nothing for --method DC; use it with DSA, DM'),
        ('--method BS --dsa_strategy flip', '--dsa_strategy does nothing for --method DC'),
        ('--method random --lr_img 5', '--lr_img does nothing for --method random'),
        (
            '--method DM --outer_loop 5',
            '--outer_loop does nothing for --method DM; use it with DC, DSA',
        ),
        ('--method mean --num_cluster 3', '--num_cluster .* --method mean; use it with DC, DSA'),
        ('--method herding --draw stratified', '--draw does nothing for --method herding'),
        ('--method BS --draw uniform', '--draw uniform does not; use --method DC'),
        ('--no-norm', '--norm does nothing with --draw uniform.*main_BS.py'),
        ('--schedule adaptive', '--schedule adaptive does nothing with --outer_loop 1'),
        ('--ipc 10 --schedule adaptive --inner_loop 3', '--inner_loop 3 does nothing with'),
        ('--draw nearest', "'nearest'.*stratified"),
        ('--unknown 3', 'unrecognized arguments: --unknown 3$'),
        ('--iteration 3', r'did you mean --Iteration\?'),
        ('--num-evals=3', r'did you mean --num_eval\?'),
        ('--iteration 3 --num-eval 3', r'did you mean --Iteration, --num_eval\?'),
        ('--ipc unrecognized', 'at least 1$|at most [0-9]+$'),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(UserError, match=message):
        arguments(line)
    with pytest.raises(UserError) as error:
        arguments(line)
    assert '\n' not in str(error.value)


def test_main_BS_needs_a_method_that_sees_batches():
    with pytest.raises(UserError, match='--method herding sees no batches'):
        arguments('--method herding', draw='cluster')


def test_a_recipe_fills_in_what_is_not_typed():
    plain, recipe = arguments('--level both'), arguments('--recipe dcc --level both --ipc 10')
    assert (recipe.level, recipe.init, recipe.outer_loop) == ('both', 'real', 10)
    assert plain.init == 'noise'
    # The run is that of the flags: another spelling of it has the same folder.
    typed = arguments('--level contrast --init real --outer_loop 10 --inner_loop 5')
    assert arguments('--recipe dcc').run_name == typed.run_name


@pytest.mark.parametrize(
    ('recipe', 'typed'),
    [
        ('fast', '--outer_loop 1 --Iteration 40 --init representative --level inter'),
        ('fast', '--schedule adaptive --momentum_net 0.9 --Iteration 40 --level inter'
                 ' --init representative'),
        ('mda', '--outer_loop 1 --level both --dis_metric angle_magnitude'),
    ],
)  # fmt: skip
def test_what_a_recipe_says_in_vain_is_no_part_of_the_run(recipe, typed):
    typed += ' --batch_real 32' if recipe == 'fast' else ''
    args = arguments(f'--ipc 10 --recipe {recipe} {typed}')
    assert args.run_name == arguments(f'--ipc 10 {typed}').run_name
    assert args.inner_loop == 50


def test_the_protocol_that_fits_anyway_makes_no_other_run():
    assert arguments('--protocol dc').run_name == arguments().run_name
    assert arguments('--method DM --protocol dsa').run_name == arguments('--method DM').run_name
    assert 'protocol=dsa' in arguments('--protocol dsa').run_name
    assert arguments('--draw cluster --feature_net PCA').layer_idx is None


def test_every_recipe_holds_flags_of_its_methods_and_fits(digits):
    for recipe, by_method in SHELF.recipes.items():
        for method, by_ipc in by_method.items():
            for ipc, settings in by_ipc.items():
                assert settings.keys() <= own_flags(METHODS[method]) | {'compile'}
                args = arguments(f'--method {method} --recipe {recipe} --ipc {ipc or 10}')
                for name, value in settings.items():
                    value = value(vars(args)) if callable(value) else value
                    assert getattr(args, name) == value
                for flag in settings.keys() & SHELF.tables.keys():
                    assert settings[flag] in SHELF.tables[flag]


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--method DM --recipe dcc', 'none for --method DM; it is for DC, DSA'),
        ('--recipe dcc --ipc 7', 'for DC at ipc 7; it has for DC at ipc 1, 10, 50; DSA'),
        (
            '--recipe tiles --ipc 50',
            'it has for DC at ipc 1; DM at ipc 10; IDC at ipc 1; CAFE at ipc 1, 10: use',
        ),
        ('--recipe quick', 'invalid choice'),
        ('--draw cluster --feature_net PCA --layer_idx 2', '--layer_idx does nothing with'),
    ],
)
def test_recipes_and_flags_that_do_nothing_are_refused(line, message):
    with pytest.raises(UserError, match=message):
        arguments(line)


@pytest.mark.parametrize(
    'line', ['--recipe mda --ipc 3 --outer_loop auto', '--ipc 3 --outer_loop 1']
)
def test_no_inner_loop_is_asked_for_where_there_is_none(line):
    args = arguments(line)
    assert args.inner_loop == 12 and 'inner_loop' not in args.changed


def test_the_recipes_of_idc_have_ten_times_its_own_rate():
    line = '--method IDC --recipe fast --ipc 1'
    assert arguments(line).lr_img == pytest.approx(0.005)
    assert arguments(f'{line} --dis_metric conv_l1').lr_img == pytest.approx(1e-4)
