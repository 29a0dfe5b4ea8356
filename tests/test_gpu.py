"""The fast path on a GPU, eager and replayed, against the textbook; precisions, state, a run."""

import copy

import numpy as np
import pytest
import torch

import main as main_script
from dataset.data import load_dataset
from engine.device import set_up_device
from methods import textbook
from utils import Rng

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU here')
ALL_OPERATIONS = 'color_crop_cutout_flip_scale_rotate'


@pytest.fixture(scope='module')
def on_gpu():
    """Return Digits on the GPU."""
    return load_dataset('Digits', device=set_up_device('cuda', 'fp32'))


@pytest.fixture
def make(make_method, on_gpu):
    """Return make_method for the GPU; afterwards set its precision back to fp32."""

    def made(name='DC', seed=0, **keywords):
        return make_method(name, data=on_gpu, rng=Rng('cuda', seed), **keywords)

    yield made
    set_up_device('cuda', 'fp32')


def test_pixels_in_main_memory_give_the_same_images(on_gpu):
    kept, index = load_dataset('Digits', device='cuda', data_device='cpu'), on_gpu.indices_class[3]
    assert kept.pixels_train.device.type == 'cpu' and kept.device.type == 'cuda'
    assert torch.equal(kept.images(index), on_gpu.images(index))


@pytest.mark.parametrize('compile', [False, 'graphs', True])
@pytest.mark.parametrize(
    'keywords',
    [{}, {'dsa_strategy': ALL_OPERATIONS, 'init': 'real'}, {'level': 'inter', 'factor': 2}],
)
def test_fp32_equals_the_textbook(make, keywords, compile):
    differences = []
    for seed in range(3):
        ours, slow = make(seed=seed, compile=compile, **keywords), make(seed=seed, **keywords)
        for _ in range(2):
            assert ours.step()['loss'] == pytest.approx(textbook.iteration(slow), rel=1e-3)
        differences.append((ours.image_syn - slow.image_syn).norm() / slow.image_syn.norm())
    # Now and then another order of sums flips a ReLU unit, and with it its share of the gradient.
    assert sorted(differences)[1] < 1e-4 and max(differences) < 1e-2


@pytest.mark.parametrize('compile', [False, 'graphs', True])
@pytest.mark.parametrize(('precision', 'bound'), [('tf32', 0.02), ('bf16', 0.05)])
def test_other_precisions_move_the_gradient_little(make, precision, bound, compile):
    exact = make(outer_loop=1, model='ConvNetD2')
    exact.step()
    set_up_device('cuda', precision)
    other = make(outer_loop=1, model='ConvNetD2', precision=precision, compile=compile)
    other.step()
    assert (
        exact.image_syn.grad - other.image_syn.grad
    ).norm() < bound * exact.image_syn.grad.norm()


@pytest.mark.parametrize(
    ('name', 'compile'),
    [
        *(('DC', False), ('DC', 'graphs'), ('DC', True), ('DM', False), ('DM', True)),
        *(('DD', False), ('IDC', 'graphs'), ('IDC', True), ('CAFE', True), ('KIP', True)),
        *(('IDM', False), ('IDM', True), ('BPTT', False), ('BPTT', True)),
    ],
)
def test_state_goes_on_in_another_instance(make, name, compile):
    method, other = make(name, compile=compile), make(name, seed=9, compile=compile)
    method.step()
    other.load_state_dict(copy.deepcopy(method.state_dict()))
    assert method.step()['loss'] == pytest.approx(other.step()['loss'], rel=1e-5)
    assert torch.allclose(method.image_syn, other.image_syn, atol=1e-4)


@pytest.mark.parametrize('reduce', ['avgpool1', 'maxpool2', 'mask'])
def test_reduced_distances_are_replayed(make, reduce):
    settings = {'reduce': reduce, 'mask_quantile': 0.9 if reduce == 'mask' else None}
    eager, fast = (make(compile=compile, **settings) for compile in (False, 'graphs'))
    for _ in range(2):
        assert fast.step()['loss'] == pytest.approx(eager.step()['loss'], rel=1e-3)


@pytest.mark.parametrize('compile', ['off', 'graphs', 'on'])
def test_a_run_learns(tmp_path, compile):
    line = '--dataset Digits --model ConvNetD1 --num_exp 1 --num_eval 2 --epoch_eval_train 100'
    line += f' --Iteration 30 --eval_every 0 --device cuda --compile {compile}'
    line += f' --save_path {tmp_path}'
    main_script.main(line.split())
    result = torch.load(next(tmp_path.glob('*/res_*.pt')), weights_only=True)
    assert np.mean(result['accs_all_exps']['ConvNetD1']) > 0.8
