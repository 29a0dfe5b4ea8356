"""Flags: spelling and defaults of the original, typed wins over derived, run names, errors that list the
choices."""

import pytest
import torch

import utils
from device import fast_precision
from errors import UserError
from flags import add_condensation, add_matching, add_sampling, base_parser
from methods import METHODS
from methods.distance import DISTANCES
from methods.reduction import REDUCTIONS
from utils import Arguments, parse


def arguments(line='', **changes):
    parser = base_parser('test')
    add_condensation(parser, METHODS)
    add_matching(parser, DISTANCES, REDUCTIONS)
    return parse(parser, line.split(), METHODS)


def test_defaults_of_the_original():
    expected = {
        'method': 'DC', 'dataset': 'CIFAR10', 'model': 'ConvNet', 'ipc': 1, 'eval_mode': 'S', 'num_exp': 5,
        'num_eval': 20, 'Iteration': 1000, 'lr_img': 0.1, 'lr_net': 0.01, 'batch_real': 256, 'init': 'noise',
        'batch_train': 256, 'dsa_strategy': 'None', 'data_path': 'data', 'save_path': 'results',
        'dis_metric': 'ours', 'outer_loop': 1, 'inner_loop': 1, 'seed': 0,
    }  # fmt: skip
    values = vars(arguments())
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ('ipc', 'loops'),
    [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (40, (40, 15)), (50, (50, 10))],
)
def test_loops_by_ipc(ipc, loops):
    args = arguments(f'--ipc {ipc}')
    assert (args.outer_loop, args.inner_loop) == loops
    assert arguments(f'--ipc {ipc} --inner_loop 3').inner_loop == 3


def test_derived_values():
    assert arguments('--model MLP').lr_img == 0.01
    dsa = arguments('--method DSA')
    assert (dsa.init, dsa.dsa_strategy) == ('real', 'color_crop_cutout_flip_scale_rotate')
    assert arguments('--method DSA --dataset SVHN').dsa_strategy == 'color_crop_cutout_scale_rotate'
    assert arguments('--device cuda:1').precision == 'tf32'


@pytest.mark.parametrize(('has_bf16', 'precision'), [(True, 'bf16'), (False, 'fp32')])
def test_precision_on_a_cpu_is_what_it_has(monkeypatch, has_bf16, precision):
    monkeypatch.setattr(torch.cpu, '_is_avx512_bf16_supported', lambda: has_bf16)
    assert arguments('--device cpu').precision == precision
    assert arguments('--device cpu --precision tf32').precision == 'tf32'


@pytest.mark.parametrize(
    'typed',
    [
        ('epoch_eval_train', 42), ('outer_loop', 3), ('inner_loop', 0), ('lr_img', 0.5), ('init', 'noise'),
        ('dsa_strategy', 'None'), ('precision', 'bf16'),
    ],
)  # fmt: skip
def test_a_typed_flag_always_wins(typed):
    flag, value = typed
    assert getattr(arguments(f'--method DSA --model MLP --{flag} {value}'), flag) == value


def test_run_names_tell_experiments_apart_and_ignore_places():
    lines = ['', '--method DSA', '--ipc 10', '--seed 1', '--lr_img 0.2', '--Iteration 200', '--num_eval 5']
    lines += ['--model MLP', '--dataset MNIST', '--precision tf32', '--dis_metric mse', '--im_size 16']
    names = [arguments(line).run_name for line in lines]
    usual = f'_ConvNet_1ipc_seed0_{fast_precision("cpu")}'
    assert len(set(names)) == len(lines) and names[0] == f'DC_CIFAR10{usual}'
    assert names[4] == f'DC_CIFAR10{usual}_lr_img=0.2'
    same = ['--lr_img 0.1', '--save_path elsewhere', '--data_path there', '--device cpu', '--outer_loop 1']
    assert {arguments(line).run_name for line in same} == {names[0]}
    assert arguments('--dataset my/own.npz').run_name == f'DC_own{usual}'


def test_a_run_has_one_name_whether_its_precision_is_typed_or_the_machines_own(monkeypatch):
    typed = arguments('--precision bf16 --lr_img 0.2').run_name
    assert typed == 'DC_CIFAR10_ConvNet_1ipc_seed0_bf16_lr_img=0.2'
    for own in ('bf16', 'fp32'):
        monkeypatch.setattr(utils, 'fast_precision', lambda device, own=own: own)
        assert arguments('--precision bf16 --lr_img 0.2').run_name == typed
        assert (arguments('--lr_img 0.2').run_name == typed) == (own == 'bf16')


def test_mix_without_a_number_is_the_originals():
    parser = base_parser('test')
    add_sampling(parser, {'cluster': None})
    assert [parse(parser, words).mix for words in ([], ['--mix'], ['--mix', '7'])] == [None, 300, 7]


def test_arguments_are_frozen():
    args = arguments()
    with pytest.raises(AttributeError, match='frozen'):
        args.ipc = 3
    assert isinstance(args, Arguments)


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('--method DCC', "--method.*'DCC'.*DC.*DSA"),
        ('--model ConvNett', "'ConvNett'.*ConvNetW256"),
        ('--dis_metric l1', "'l1'.*ours.*mse.*cos"),
        ('--eval_mode X', "'X'.*SS"),
        ('--ipc 0', "--ipc: '0' must be an integer at least 1"),
        ('--ipc -3', 'at least 1'),
        ('--ipc 15', 'ipc 15 has no preset loops.*--outer_loop and --inner_loop.*1, 10, 20, 30, 40, 50'),
        ('--ipc 15 --outer_loop 3', 'no preset loops'),
        ('--lr_img nan', 'must be a number above 0'),
        ('--lr_img 0', 'must be a number above 0'),
        ('--num_eval x', 'must be an integer'),
        ('--epoch_eval_train 0', 'at least 1'),
        ('--method DC --dsa_strategy flip', 'use --method DSA'),
        ('--method BS --dsa_strategy flip', 'BS has no augmentation'),
        ('--unknown 3', 'unrecognized arguments: --unknown'),
    ],
)
def test_mistakes(line, message):
    with pytest.raises(UserError, match=message):
        arguments(line)
    with pytest.raises(UserError) as error:
        arguments(line)
    assert '\n' not in str(error.value)
