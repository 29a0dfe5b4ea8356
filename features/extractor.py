"""The network whose features are clustered: a ResNet18 with CIFAR stem, fine-tuned on the data set.

    python main_cluster.py --dataset Digits                # half a minute

It starts from torchvision's ImageNet weights if they can be downloaded (stem and classifier stay
new), else from scratch. Schedule: SGD with Nesterov momentum, one-cycle learning rate, label
smoothing, random crop and flip.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from tqdm import tqdm

import ranks
from dataset.augment import crop, flip
from dataset.data import Data
from engine.device import autocast
from engine.training import test_accuracy
from experiment.files import file_hash, load_tensors, making, save_tensors
from networks import Network, make_network
from utils import Rng, UserError

LAYERS = ('layer1', 'layer2', 'layer3', 'layer4')  # of 64, 128, 256, 512 channels
BATCH, LR, WEIGHT_DECAY = 128, 0.1, 5e-4
# Smaller images start from scratch: ImageNet's layers would halve 8x8 pixels to one.
PRETRAINED_PIXELS = 28


def extractor_path(folder: str | Path, data: Data, extractor: str | None = None) -> Path:
    """Return the extractor's file: the one that the user named, or the data set's own."""
    return Path(extractor) if extractor else Path(folder) / f'resnet18_{data.name.lower()}.pt'


def load_extractor(path: Path, data: Data) -> tuple[Network, dict]:
    """Load an extractor for data; return it and {'accuracy', 'hash', …}.

    Raises UserError if it is of other shape.
    """
    stored = load_tensors(path, 'extractor')
    weights = stored.get('net', stored) if isinstance(stored, dict) else {}
    net = make_network(
        'ResNet18BN', data.shape[0], data.num_classes, data.shape[1:], Rng(data.device, 0).generator
    )
    try:
        net.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        shape = f'{data.shape[0]} channels and {data.num_classes} classes'
        raise UserError(
            f'{path} is not a ResNet18 with CIFAR stem for {shape}; '
            'pass another --extractor, or leave it out to have one made'
        ) from error
    if not all(value.isfinite().all() for value in net.state_dict().values()):
        raise UserError(f'{path} holds weights that are not finite; pass another --extractor')
    facts = {
        key: stored.get(key) for key in ('accuracy', 'dataset', 'epochs', 'pretrained', 'data')
    }
    return net.eval(), facts | {'hash': file_hash(path)}


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
    net = make_network('ResNet18BN', data.shape[0], data.num_classes, data.shape[1:], rng.generator)
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
    unfinished, start = path.with_suffix('.unfinished.pt'), 0
    if unfinished.exists():
        state = load_tensors(unfinished, 'checkpoint')
        if isinstance(state, dict) and all(
            state.get(key) == value for key, value in identity.items()
        ):
            start = state['epoch']
            for name, part in parts.items():
                part.load_state_dict(state[name])
    for epoch in tqdm(range(start, epochs), 'extractor', initial=start, total=epochs):
        _train_epoch(net, data, optimizer, schedule, rng, precision)
        state = {name: part.state_dict() for name, part in parts.items()}
        save_tensors(unfinished, state | {'epoch': epoch + 1} | identity)
    accuracy = test_accuracy(net, data, precision)
    facts = {'accuracy': accuracy, 'dataset': data.name, 'pretrained': pretrained} | identity
    save_tensors(
        path, {'net': {key: value.contiguous() for key, value in net.state_dict().items()}} | facts
    )
    unfinished.unlink(missing_ok=True)
    print(f'{path}: test accuracy {100 * accuracy:.2f} %')


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


def ensure_extractor(
    data: Data,
    folder: str | Path,
    extractor: str | None,
    *,
    epochs: int | None,
    seed: int,
    precision: str,
):
    """Return the extractor and its facts: of the file `extractor`, or the data set's own.

    The data set's own is made when it is missing.
    """
    path = extractor_path(folder, data, extractor)
    if not extractor:
        with making(path) as missing:
            if missing:
                print(f'{path} is missing: making it')
                make_extractor(data, path, epochs=epochs, seed=seed, precision=precision)
    net, facts = load_extractor(path, data)
    if not extractor:
        check_own(path, facts, data, epochs)
    return net, facts | {'data': data.fingerprint}


def check_own(path: Path, facts: dict, data: Data, epochs: int | None) -> None:
    """Raise UserError if the data set's own extractor is of other data or other epochs."""
    remedy = 'remove it to have it made again, or pass another --cluster_path'
    if facts.get('data') not in (None, data.fingerprint):
        raise UserError(f'{path} was trained on other pixels of the name {data.name}; {remedy}')
    trained = facts.get('epochs')
    if None not in (trained, epochs) and trained != epochs:
        raise UserError(
            f'{path} was trained for {trained} epochs, not --extractor_epochs {epochs}; {remedy}'
        )


@torch.inference_mode()
def features_of(net: Network, images: torch.Tensor, precision: str) -> list[torch.Tensor]:
    """Return the features of images (N, C, H, W) after each layer, on the CPU.

    They are [(N, 64), (N, 128), (N, 256), (N, 512)], global average pooled.
    """
    net.eval()
    features, outputs = [], images
    with autocast(images.device, precision):
        for name, module in net.features.named_children():
            outputs = module(outputs)
            if name in LAYERS:
                features.append(outputs.float().mean(dim=(2, 3)).cpu())
    return features


def layer_features(
    net: Network,
    data: Data,
    precision: str,
    index: torch.Tensor | None = None,
    batch_size: int = 100,
) -> list[torch.Tensor]:
    """Return the features of training images after each layer: [(N, 64), …, (N, 512)], on the CPU.

    index: which images (None: all). Global average pooled, no augmentation, one pass, no graph.
    """
    chosen = data.pixels_train if index is None else data.pixels_train[index]
    result = None
    for start in tqdm(
        range(0, len(chosen), batch_size), 'features', leave=False, disable=not ranks.leads()
    ):
        features = features_of(net, data.normalise(chosen[start : start + batch_size]), precision)
        # One block a layer: small tensors that stay would tear holes into the heap.
        if result is None:
            result = [torch.empty(len(chosen), layer.shape[1]) for layer in features]
        for whole, part in zip(result, features, strict=True):
            whole[start : start + len(part)] = part
    return result
