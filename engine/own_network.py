"""A network of the user's own: --model path/to/file.py:builder.

builder(channel, num_classes, im_size=(H, W)) returns an nn.Module with random weights:

    forward(images)  logits (N, K) of images (N, C, H, W)
    embed(images)    what its last layer sees, (N, D): distribution matching and coresets compare it

Network(features, num_features, num_classes) of networks.py is one. Every weight is drawn again at
each iteration: of Conv2d, Linear and norms as in our networks, else by the module's own
reset_parameters(). No pass may draw random numbers. A file's content decides which network it is:
NETWORKS has it as builder-<hash>, so a changed file makes another run.
"""

import contextlib
import hashlib
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from dataset.names import LONGEST, shortened
from engine.gradients import directional
from networks import NETWORKS, is_drawn
from storage.files import check_file
from utils import OWN_NETWORK, UserError, is_memory

HASH = 8  # digits of the file's hash in a name
IMAGES = 4  # random images that a network is tried on
TOLERANCE = 1e-3  # of derivatives in float32: right ones agree to 1e-6, a wrong one is 1e-2 off
REMEDY = 'docs/own_network.md has examples'


def own_network(text: str) -> str:
    """Return the name of a typed --model; a file's builder becomes a row of NETWORKS first.

    Raises UserError if the file cannot be run or has no such builder.
    """
    place, _, name = text.rpartition(':')
    if text.endswith('.py'):
        raise UserError(f'--model {text} names no builder: type {text}:builder')
    if not place:
        return text
    if not place.endswith('.py'):
        raise UserError(f'--model {text}: a network of your own is path/to/file.py:builder')
    check_file(Path(place), 'file of a network')
    source = Path(place).read_bytes()
    digest = hashlib.sha256(source).hexdigest()[:HASH]
    module = types.ModuleType(f'{OWN_NETWORK}{digest}')
    module.__file__ = place
    sys.modules[module.__name__] = module  # where data classes look for it
    # What is hashed is what runs: the file is read once.
    with _said(f'--model {place} cannot be run'):
        exec(compile(source, place, 'exec'), module.__dict__)
    builder = getattr(module, name, None)
    if not callable(builder):
        found = 'no function' if builder is None else f'a {type(builder).__name__}, no function,'
        raise UserError(
            f'--model {text}: {place} has {found} of the name {name!r}; it needs '
            f'{name or "builder"}(channel, num_classes, im_size); {REMEDY}'
        )
    known = f'{shortened(name, LONGEST)}-{digest}'
    NETWORKS[known] = partial(build, builder, f'--model {text}')
    return known


def build(
    builder: Callable, what: str, channel: int, num_classes: int, im_size: tuple[int, int]
) -> nn.Module:
    """Build a user's network on the CPU, and try all that methods will ask of it.

    what: what messages call it. Raises UserError for the first thing that it lacks.
    """
    # The global generator is left as it was: a builder draws weights, which are drawn again anyway.
    with torch.random.fork_rng(devices=()), torch.device('cpu'):
        torch.default_generator.manual_seed(0)
        with _said(f'{what}: the builder fails for {channel} channels of {im_size} pixels'):
            net = builder(channel, num_classes, im_size)
        _check_weights(net, what)
        images = torch.randn(IMAGES, channel, *im_size)
        net.embed_size = _check_passes(net, images, num_classes, what)
        _check_derivatives(net, images, torch.arange(IMAGES) % num_classes, what)
    return net


def _check_weights(net, what: str) -> None:
    """Raise UserError unless net is a module with embed() whose weights can all be drawn again."""
    if not isinstance(net, nn.Module):
        raise UserError(
            f'{what}: the builder returns a {type(net).__name__}, it should return an nn.Module'
        )
    if not callable(getattr(net, 'embed', None)):
        raise UserError(
            f'{what}: {type(net).__name__} has no embed(images) that returns features (N, D); '
            f'return Network(features, num_features, num_classes) of networks.py; {REMEDY}'
        )
    seen = set()
    for name, module in net.named_modules(remove_duplicate=False):
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        where = f'{what}: module {name or "itself"!r} ({type(module).__name__})'
        if not is_drawn(module):
            raise UserError(
                f'{where} has weights, but no reset_parameters() that draws them again: give it one'
            )
        if module in seen:  # torch's functional_call leaves wrong weights in it
            raise UserError(f'{where} is in two places: keep it in one, and call it twice')
        seen.add(module)
    if not any(param.requires_grad for param in net.parameters()):
        raise UserError(f'{what}: the network has no weights to train')
    frozen = [name for name, param in net.named_parameters() if not param.requires_grad]
    if frozen:
        raise UserError(f'{what}: {frozen[0]} is frozen; every weight is trained, so let it be')


@torch.no_grad()
def _check_passes(net: nn.Module, images: torch.Tensor, num_classes: int, what: str) -> int:
    """Return D of the features; raise UserError for other shapes or a pass that draws numbers."""
    shape = 'x'.join(map(str, images.shape))
    net.train()
    with _said(f'{what} fails on images of {shape}'):
        outputs, again, features = net(images), net(images), net.embed(images)
    with _said(f'{what} takes {IMAGES} images, but fails on {IMAGES - 1}'):
        net(images[1:]), net.embed(images[1:])
    wanted = {'forward': (outputs, num_classes), 'embed': (features, 'D')}
    for name, (found, columns) in wanted.items():
        sizes = tuple(found.shape) if torch.is_tensor(found) else type(found).__name__
        rows = sizes[:1] == (len(images),) and len(sizes) == 2
        if not rows or columns not in ('D', sizes[1]):
            raise UserError(
                f'{what}: {name} returns {sizes} for {shape}, it should be '
                f'({len(images)}, {columns})'
            )
    if not (outputs.isfinite().all() and features.isfinite().all()):
        raise UserError(f'{what}: outputs or features of random images are NaN or infinite')
    if not torch.allclose(outputs, again, rtol=1e-3, atol=1e-5):
        raise UserError(
            f'{what}: two passes of the same images differ in training, as with dropout; set its '
            'rate to 0, for a run could not be repeated'
        )
    return features.shape[1]


def _check_derivatives(net: nn.Module, images, labels, what: str) -> None:
    """Raise UserError unless every weight counts and its gradient can be derived for the images.

    Gradient matching takes a forward derivative. Some layers have none, or a wrong one.
    """
    # Batch norm is frozen when gradients are matched.
    net.eval()
    images, params = images.requires_grad_(), dict(net.named_parameters())
    with _said(f'{what}: its gradients cannot be derived'):
        value = F.cross_entropy(net(images), labels)
        grads = torch.autograd.grad(value, params.values(), create_graph=True, allow_unused=True)
        unused = [name for name, grad in zip(params, grads, strict=True) if grad is None]
        if unused:
            raise UserError(f'{what}: {unused[0]} has no part in the output: leave it out')
        direction = {name: torch.randn_like(param) for name, param in params.items()}
        product = sum((a * b).sum() for a, b in zip(grads, direction.values(), strict=True))
        (twice,) = torch.autograd.grad(product, images)
        fixed = {name: param.detach() for name, param in params.items()}
        weights = images.new_full((len(images),), 1 / len(images))
        along = directional(net, fixed, direction, images, labels, weights)
        (forward,) = torch.autograd.grad(along, images)
    if float((forward - twice).abs().max()) > TOLERANCE * float(twice.abs().max()):
        raise UserError(
            f'{what}: the forward derivative of a layer is wrong, as that of nn.LayerNorm is; use '
            'LayerNorm of networks.py, or another norm'
        )


@contextlib.contextmanager
def _said(what: str):
    """Turn any error of the user's code into one line."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except (Exception, SystemExit) as error:  # a script may end itself when it is run
        if is_memory(error):
            raise
        reason = str(error).partition('\n')[0]
        raise UserError(f'{what}: {type(error).__name__}: {reason}; {REMEDY}') from error
