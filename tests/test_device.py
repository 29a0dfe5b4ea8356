"""What a GPU would punish, found on the CPU: waits for the device, and tensors made elsewhere.

Numbers from host generators may be read: they were never on the device.
"""

import contextlib

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from methods.gradient_matching import GradientMatching

WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'equal', '_unique2')
METHODS = [
    ('DC', {}),
    ('DC', {'level': 'inter'}),
    ('DC', {'level': 'both', 'factor': 2}),
    ('DC', {'model': 'ConvNetBN'}),
    ('DC', {'dis_metric': 'angle_magnitude', 'reduce': 'maxpool2'}),
    ('DSA', {'dsa_strategy': 'color_crop_cutout_flip_scale_rotate'}),
]


class Waited(AssertionError):
    pass


class NoWait(TorchDispatchMode):
    """Raise Waited where the host would read what a device computes."""

    def __init__(self, host_generator):
        super().__init__()
        self.host_seed, self.of_host = host_generator.initial_seed(), {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.name().split('::')[1].split('.')[0]
        masked = name == 'index' and any(i is not None and i.dtype == torch.bool for i in args[1])
        if masked or (name in WAITS and id(args[0]) not in self.of_host):
            raise Waited(name)
        result = func(*args, **(kwargs or {}))
        generator = (kwargs or {}).get('generator')
        of_host = generator is not None and generator.initial_seed() == self.host_seed
        if of_host or (name == 'detach' and id(args[0]) in self.of_host):
            self.of_host[id(result)] = result  # kept: no other tensor gets its number
        return result


@contextlib.contextmanager
def no_wait(rng):
    """Forbid what makes a host wait for its device; tolist and others pass no dispatcher."""

    def waits(name):
        def method(*arguments, **keywords):
            raise Waited(name)

        return method

    with pytest.MonkeyPatch.context() as patch, NoWait(rng.host_generator):
        for name in ('tolist', 'numpy', 'cpu'):
            patch.setattr(torch.Tensor, name, waits(name))
        yield


def step(method):
    method.match()
    method.train_network()


@pytest.mark.parametrize(('name', 'keywords'), METHODS)
def test_a_step_does_not_wait_for_the_device(make_method, name, keywords):
    method = make_method(name, **keywords)
    step(method)  # libraries and caches set themselves up
    with no_wait(method.rng):
        step(method)


@pytest.mark.parametrize('mistake', ['item', 'tolist', 'branch', 'mask'])
def test_a_planted_wait_is_found(make_method, monkeypatch, mistake):
    read = {
        'item': lambda loss: loss.sum().item(),
        'tolist': lambda loss: loss.tolist(),
        'branch': lambda loss: 1 if loss.sum() > 0 else 0,
        'mask': lambda loss: loss[loss > 0],
    }[mistake]
    draw = GradientMatching._draw

    def careless(self, c):
        read(self.image_syn)
        return draw(self, c)

    monkeypatch.setattr(GradientMatching, '_draw', careless)
    method = make_method()
    with pytest.raises(Waited), no_wait(method.rng):
        step(method)


# DSA draws its operation on the host, by a generator of the host.
@pytest.mark.parametrize(('name', 'keywords'), METHODS[:-1])
def test_tensors_of_a_step_are_made_on_the_device_of_the_data(make_method, name, keywords):
    # What names no device would be made on this one, and does not mix with others.
    method = make_method(name, **keywords)
    with torch.device('meta'):
        step(method)
    assert method.image_syn.isfinite().all()


def test_a_planted_tensor_elsewhere_is_found(make_method, monkeypatch):
    draw = GradientMatching._draw

    def careless(self, c):
        index, transform = draw(self, c)
        return index + torch.zeros(len(index), dtype=torch.int64), transform

    monkeypatch.setattr(GradientMatching, '_draw', careless)
    method = make_method()
    with pytest.raises(RuntimeError), torch.device('meta'):
        step(method)
