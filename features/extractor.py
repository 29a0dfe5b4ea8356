"""The network whose features are clustered: a ResNet18 with CIFAR stem, fine-tuned on the data set.

    python main_cluster.py --dataset Digits                # half a minute

How it is trained: features/fine_tuning.py.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from dataset.data import Data
from engine.device import autocast
from engine.training import load_weights
from features.fine_tuning import make_extractor, unfinished_path
from networks import Network, network_for
from processes import ranks
from storage.files import file_hash, load_tensors, making
from storage.kinds import check, count, share, switch, word
from utils import Rng, UserError, plural

LAYERS = ('layer1', 'layer2', 'layer3', 'layer4')  # of 64, 128, 256, 512 channels
FACTS = {'accuracy?': share, 'dataset?': word, 'epochs?': count, 'pretrained?': switch,
         'data?': word}  # fmt: skip
BATCH = 100  # images that pass the network at once
REMEDY = 'pass another --extractor, or another --cluster_path, where one is made'


def extractor_path(folder: str | Path, data: Data, extractor: str | None = None) -> Path:
    """Return the extractor's file: the one that the user named, or the data set's own."""
    return Path(extractor) if extractor else Path(folder) / f'resnet18_{data.name.lower()}.pt'


def load_extractor(path: Path, data: Data) -> tuple[Network, dict]:
    """Load an extractor for data; return it and {'accuracy', 'hash', …}.

    Raises UserError if it is of other shape.
    """
    stored = load_tensors(path, 'extractor')
    weights = stored.get('net', stored) if isinstance(stored, dict) else {}
    own = isinstance(stored, dict) and 'net' in stored
    facts = check(path, 'extractor', stored, FACTS, REMEDY) if own else {}
    net = network_for('ResNet18BN', data, Rng(data.device, 0).generator)
    try:
        load_weights(net, weights)
    except ValueError as error:
        shape = f'{data.shape[0]} channels and {data.num_classes} classes'
        raise UserError(
            f'{path} holds no finite weights of a ResNet18 with CIFAR stem for {shape}; '
            'pass another --extractor, or leave it out to have one made'
        ) from error
    facts = {name: facts.get(name) for name in ('accuracy', 'dataset', 'epochs', 'pretrained')}
    facts['data'] = stored.get('data') if own else None
    return net.eval(), facts | {'hash': file_hash(path)}


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
        unfinished_path(path).unlink(missing_ok=True)  # of a process that was killed at its end
    net, facts = load_extractor(path, data)
    if not extractor:
        check_own(path, facts, data, epochs)
    return net, facts | {'data': data.fingerprint}


def check_own(path: Path, facts: dict, data: Data, epochs: int | None) -> None:
    """Raise UserError if the data set's own extractor is of other data or other epochs."""
    remedy = 'pass another --cluster_path, or move the file away to have it made again'
    if facts.get('data') not in (None, data.fingerprint):
        raise UserError(f'{path} was trained on other pixels of the name {data.name}; {remedy}')
    trained = facts.get('epochs')
    if None not in (trained, epochs) and trained != epochs:
        raise UserError(
            f'{path} was trained for {plural(trained, "epoch")}, not --extractor_epochs {epochs}; '
            f'{remedy}'
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
) -> list[torch.Tensor]:
    """Return the features of training images after each layer: [(N, 64), …, (N, 512)], on the CPU.

    index: which images (None: all). Global average pooled, no augmentation, one pass, no graph.
    """
    chosen = data.pixels_train if index is None else data.pixels(index)
    result = None
    for start in tqdm(
        range(0, len(chosen), BATCH), 'features', leave=False, disable=not ranks.leads()
    ):
        features = features_of(net, data.normalise(chosen[start : start + BATCH]), precision)
        # One block a layer: small tensors that stay would tear holes into the heap.
        if result is None:
            result = [torch.empty(len(chosen), layer.shape[1]) for layer in features]
        for whole, part in zip(result, features, strict=True):
            whole[start : start + len(part)] = part
    return result
