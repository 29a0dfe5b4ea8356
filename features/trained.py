"""Features of a network that was trained on all images, and how often it forgot each of them.

The network is kept in a file, so it is trained once: ten epochs of the evaluation schedule.
"""

import functools
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.data import Data
from engine.gradients import choose, embed, loss_and_right
from engine.training import evaluation_optimizer, load_weights
from engine.trial import check_network, last_batch
from features.extractor import ensure_extractor, layer_features
from networks import network_for
from storage.files import load_tensors, making, save_tensors
from storage.kinds import anything, check, labels, word
from utils import Rng, UserError

EPOCHS = 10  # of the training whose forgetting is counted
KIND = {'net': {str: anything}, 'events': labels, 'data': word}
REMEDY = 'pass another --cluster_path, or move the file away to have it made again'


def count_forgetting(right: torch.Tensor) -> torch.Tensor:
    """Return how often each image was forgotten (N,): right in an epoch and wrong in the next.

    right: (epochs, N). An image that was never right was never forgotten. (Toneva et al. put these
    images first; they train for 200 epochs, after which few are left.)
    """
    return (right[:-1] & ~right[1:]).sum(0)


@functools.lru_cache(maxsize=1)
def extractor_features(
    data: Data, cluster_path: str, extractor: str | None, epochs, seed, precision
):
    """Return the features (N, 512) of the training set; a missing extractor is made."""
    net, _ = ensure_extractor(
        data, cluster_path, extractor, epochs=epochs, seed=seed, precision=precision
    )
    return layer_features(net, data, precision)[-1]


def trained_on_all(
    data: Data,
    folder: str,
    model: str,
    lr: float,
    batch_size: int,
    seed: int,
    precision: str,
    compile: bool | str,
):
    """Return a network trained on all images, and how often it forgot each of them meanwhile (N,).

    Both are kept in folder, in a file named by these settings. Raises UserError if the file is of
    other data, or if the network cannot see the last batch.
    """
    smallest = last_batch(len(data.labels_train), batch_size)
    check_network(model, data, smallest, 'training on all images')
    name = f'{model}_{data.name.lower()}_lr{lr}_batch{batch_size}_seed{seed}_{precision}.pt'
    path, rng = Path(folder) / name, Rng(data.device, seed, 'forgetting')
    net = network_for(model, data, rng.generator)
    with making(path) as missing:
        if missing:
            print(f'{path} is missing: making it')
            events = train_on_all(net, data, lr, batch_size, rng, precision, compile)
            if not all(value.isfinite().all() for value in net.state_dict().values()):
                raise UserError(
                    f'{model} has diverged on all images; use a smaller --lr_net than {lr}'
                )
            save_tensors(
                path, {'net': net.state_dict(), 'events': events, 'data': data.fingerprint}
            )
    stored = check(path, 'trained network', load_tensors(path, 'trained network'), KIND, REMEDY)
    if stored['data'] != data.fingerprint:
        raise UserError(f'{path} was trained on other data; {REMEDY}')
    try:
        load_weights(net, stored['net'])
    except ValueError as error:
        raise UserError(f'{path} holds no weights of {model}; {REMEDY}') from error
    if len(stored['events']) != len(data.labels_train):
        raise UserError(f'{path} does not fit the number of images; {REMEDY}')
    return net.eval(), stored['events']


def train_on_all(net, data: Data, lr, batch_size, rng, precision, compile) -> torch.Tensor:
    """Train net on all images for EPOCHS; return how often it forgot each of them (N,)."""
    optimizer = evaluation_optimizer(net, lr)
    step = choose(loss_and_right, compile)
    right = torch.zeros(EPOCHS, len(data.labels_train), dtype=torch.bool, device=data.device)
    for epoch in tqdm(range(EPOCHS), 'training on all images'):
        order = torch.randperm(len(data.labels_train), generator=rng.generator, device=data.device)
        for index in order.split(batch_size):
            optimizer.zero_grad()
            loss, right[epoch, index] = step(
                net, data.images(index), data.labels_train[index], precision
            )
            loss.backward()
            optimizer.step()
    return count_forgetting(right).cpu()


@functools.lru_cache(maxsize=1)
def trained_features(data: Data, *settings, precision: str, compile: bool | str) -> torch.Tensor:
    """Return the penultimate features (N, D) of the training set by trained_on_all's network."""
    net, _ = trained_on_all(data, *settings, precision, compile)
    parts = (data.normalise(part) for part in data.pixels_train.split(500))
    with torch.inference_mode():
        return torch.cat([embed(net, part, precision).cpu() for part in parts])
