"""How the extractor is made: a ResNet18 with CIFAR stem, fine-tuned on the data set.

It starts from torchvision's ImageNet weights if they can be downloaded (stem and classifier stay
new), else from scratch. Schedule: SGD with Nesterov momentum, one-cycle learning rate, label
smoothing, random crop and flip.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

from dataset.augment import crop, flip
from dataset.data import Data
from engine.device import autocast
from engine.training import load_optimizer, test_accuracy
from experiment.checkpoint import same
from networks import Network, network_for
from storage.files import load_tensors, remove_parts, save_tensors
from storage.kinds import MISFITS, anything, check, count, word
from utils import Rng, UserError, is_memory

BATCH, LR, WEIGHT_DECAY = 128, 0.1, 5e-4
# Smaller images start from scratch: ImageNet's layers would halve 8x8 pixels to one.
PRETRAINED_PIXELS = 28
# What is kept after each epoch.
KIND = {part: {str: anything} for part in ('net', 'optimizer', 'schedule', 'rng')}
KIND |= {'epoch': count, 'epochs': count, 'seed': count, 'data': word}
REMEDY = 'move it away to begin again'


def _pretrained(net: Network) -> bool:
    """Copy ImageNet weights into net, but for stem and classifier; tell whether that worked."""
    from torchvision.models import ResNet18_Weights

    try:
        weights = ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False)
    except Exception:  # URLError, OSError, RuntimeError: no network, no cache
        return False
    weights = {
        f'features.{key}': value
        for key, value in weights.items()
        if not key.startswith(('conv1', 'fc'))
    }
    missing, unexpected = net.load_state_dict(weights, strict=False)
    assert not unexpected and all(
        key.startswith(('features.conv1', 'classifier')) for key in missing
    )
    return True


def default_epochs(data: Data) -> int:
    """Return how many epochs to train: 30 on a GPU, on a CPU 5, or more to make 110 steps."""
    steps = -(-len(data.labels_train) // BATCH)
    return 30 if data.device.type == 'cuda' else max(5, -(-110 // steps))


def make_extractor(
    data: Data, path: Path, *, epochs: int | None, seed: int, precision: str
) -> None:
    """Train an extractor for `epochs` (None: default_epochs) and save it to path.

    A stopped training continues from its last epoch. The learning rate rises to 0.1 over the first
    fifth of the steps (0.02 from ImageNet weights) and falls to 0.
    """
    epochs = epochs or default_epochs(data)
    rng = Rng(data.device, seed, 'extractor')
    net = network_for('ResNet18BN', data, rng.generator)
    large = min(data.shape[1:]) >= PRETRAINED_PIXELS
    pretrained = large and _pretrained(net)
    if large and not pretrained:
        print('extractor: ImageNet weights cannot be downloaded here, training from scratch')
    net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        net.parameters(), LR, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    steps = -(-len(data.labels_train) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LR / 5 if pretrained else LR, epochs * steps, pct_start=0.2
    )
    identity = {'epochs': epochs, 'seed': seed, 'data': data.fingerprint}
    parts = {'net': net, 'optimizer': optimizer, 'schedule': schedule, 'rng': rng}
    unfinished = unfinished_path(path)
    remove_parts(unfinished)
    start = _continue(unfinished, parts, identity)
    for epoch in tqdm(range(start, epochs), 'extractor', initial=start, total=epochs):
        _train_epoch(net, data, optimizer, schedule, rng, precision)
        state = {name: part.state_dict() for name, part in parts.items()}
        save_tensors(unfinished, state | {'epoch': epoch + 1} | identity)
    if not all(value.isfinite().all() for value in net.state_dict().values()):
        raise UserError(f'{path}: its training has diverged; use another --seed')
    accuracy = test_accuracy(net, data, precision)
    facts = {'accuracy': accuracy, 'dataset': data.name, 'pretrained': pretrained} | identity
    save_tensors(
        path, {'net': {key: value.contiguous() for key, value in net.state_dict().items()}} | facts
    )
    unfinished.unlink(missing_ok=True)
    print(f'{path}: test accuracy {100 * accuracy:.2f} %')


def unfinished_path(path: Path) -> Path:
    """Return where the training of an extractor is kept until it is finished."""
    return path.with_suffix('.unfinished.pt')


def _continue(unfinished: Path, parts: dict, identity: dict) -> int:
    """Bring the parts to where an unfinished training stopped; return its epochs, 0 if none."""
    if not unfinished.exists():
        return 0
    state = load_tensors(unfinished, 'unfinished extractor')
    check(unfinished, 'unfinished extractor', state, KIND, REMEDY)
    if any(state[key] != identity[key] for key in identity):
        return 0  # of other settings: it is begun again
    try:
        for name, part in parts.items():
            if isinstance(part, torch.optim.Optimizer):
                load_optimizer(part, state[name], scheduled=True)
            else:
                part.load_state_dict(state[name])
        # A schedule takes over whatever there is.
        fits = all(same(part.state_dict(), state[name]) for name, part in parts.items())
    except MISFITS as error:
        if is_memory(error):
            raise
        fits = False
    if not fits or state['epoch'] > identity['epochs']:
        raise UserError(f'{unfinished} is no unfinished extractor of this version; {REMEDY}')
    return state['epoch']


def _train_epoch(net, data, optimizer, schedule, rng, precision):
    net.train()
    height, width = data.shape[1:]
    flips = data.mirrored
    order = torch.randperm(len(data.labels_train), generator=rng.generator, device=data.device)
    for index in order.split(BATCH):
        if len(index) == 1:  # batch norm has no statistics of one image at the last layers
            continue
        images = data.images(index)
        random = {'generator': rng.generator, 'device': data.device}
        shifts = [
            torch.randint(-(side // 8), side // 8 + 1, (len(index),), **random)
            for side in (height, width)
        ]
        images = crop(images, *shifts)
        if flips:
            images = flip(images, torch.rand(len(index), **random) < 0.5)
        with autocast(data.device, precision):
            outputs = net(images.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(outputs.float(), data.labels_train[index], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
