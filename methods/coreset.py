"""Coresets: choose real images instead of learning some. Random; herding (Welling, ICML 2009); k-center
(Sener & Savarese, ICLR 2018); forgetting (Toneva et al., ICLR 2019); images nearest to K-Means centres.

    python main.py --method herding --dataset CIFAR10 --ipc 1 --feature_net ConvNet --num_exp 1
    # published 21.5 ± 1.2 %

Features are those of the extractor before its classifier, or of --feature_net trained on all images.
"""

import functools
from pathlib import Path

import torch
from tqdm import tqdm

from clusters import ensure_extractor
from data import Data
from device import Rng
from errors import UserError
from extractor import layer_features
from methods.sampling import UniformSampler
from networks import make_network
from passes import choose, embed, loss_and_right
from storage import load, making, save
from training import judge_optimizer

EPOCHS = 10  # of the training whose forgetting is counted


def herding(features: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of num rows of features (N, D), each the one that brings the mean of the chosen
    nearest to the mean of all."""
    mean, total = features.mean(0), torch.zeros_like(features[0])
    chosen = []
    for count in range(1, num + 1):
        distance = ((total + features) / count - mean).norm(dim=1)
        distance[chosen] = float('inf')
        chosen.append(int(distance.argmin()))
        total = total + features[chosen[-1]]
    return torch.tensor(chosen)


def kcenter(features: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of num rows of features (N, D): the one nearest to the mean, then always the one
    farthest from those chosen."""
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[chosen[0]]).norm(dim=1)
    for _ in range(num - 1):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def kmeans(features: torch.Tensor, num: int, seed: int = 1) -> torch.Tensor:
    """Return the positions of num rows of features (N, D), the nearest to each of num K-Means centres."""
    from sklearn.cluster import KMeans

    centres = KMeans(num, n_init=5, random_state=seed).fit(features.double().numpy()).cluster_centers_
    distance = torch.cdist(torch.from_numpy(centres), features.double())
    chosen = []
    for row in distance:
        row[chosen] = float('inf')
        chosen.append(int(row.argmin()))
    return torch.tensor(chosen)


def most_forgotten(events: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of the num greatest counts of events (N,), the earlier of equal ones first."""
    return torch.sort(events, descending=True, stable=True).indices[:num]


def count_forgetting(right: torch.Tensor) -> torch.Tensor:
    """Return how often each image was forgotten (N,), right in an epoch and wrong in the next; right (E, N).

    An image that was never right was never forgotten. (Toneva et al. put such images first; they train for
    200 epochs, after which few are left.)
    """
    return (right[:-1] & ~right[1:]).sum(0)


@functools.lru_cache(maxsize=1)
def extractor_features(data: Data, cluster_path: str, extractor: str | None, epochs, seed, precision):
    """Return the features (N, 512) of the training set from the extractor, made when it is missing."""
    net, _ = ensure_extractor(data, cluster_path, extractor, epochs=epochs, seed=seed, precision=precision)
    return layer_features(net, data, precision)[-1]


def trained_on_all(
    data: Data, folder: str, model: str, lr: float, batch_size: int, seed: int, precision: str, compile: bool
):
    """Return a network trained on all images, and how often each of them was forgotten meanwhile (N,).

    Both are kept in folder, in a file named by these settings. Raises UserError if that one is of other data.
    """
    name = f'{model}_{data.name.lower()}_lr{lr}_batch{batch_size}_seed{seed}_{precision}.pt'
    path, rng = Path(folder) / name, Rng(data.device, seed, 'forgetting')
    net = make_network(model, data.shape[0], data.num_classes, data.shape[1:], rng.device)
    with making(path) as missing:
        if missing:
            print(f'{path} is missing: making it')
            events = train_on_all(net, data, lr, batch_size, rng, precision, compile)
            save(path, {'net': net.state_dict(), 'events': events, 'data': data.fingerprint})
    stored = load(path, 'trained network')
    if stored.keys() != {'net', 'events', 'data'} or stored['data'] != data.fingerprint:
        raise UserError(f'{path} was trained on other data; remove it to have it made again')
    net.load_state_dict(stored['net'])
    return net.eval(), stored['events']


def train_on_all(net, data: Data, lr, batch_size, rng, precision, compile) -> torch.Tensor:
    """Train net on all images for EPOCHS; return how often each training image was forgotten (N,)."""
    optimizer = judge_optimizer(net, lr)
    step = choose(loss_and_right, compile, data.device)
    right = torch.zeros(EPOCHS, len(data.labels_train), dtype=torch.bool, device=data.device)
    for epoch in tqdm(range(EPOCHS), 'training on all images'):
        order = torch.randperm(len(data.labels_train), generator=rng.device, device=data.device)
        for index in order.split(batch_size):
            optimizer.zero_grad()
            loss, right[epoch, index] = step(net, data.images(index), data.labels_train[index], precision)
            loss.backward()
            optimizer.step()
    return count_forgetting(right).cpu()


@functools.lru_cache(maxsize=1)
def trained_features(data: Data, *settings, precision: str, compile: bool) -> torch.Tensor:
    """Return the penultimate features (N, D) of the training set by the network of trained_on_all."""
    net, _ = trained_on_all(data, *settings, precision, compile)
    parts = (data.normalise(part) for part in data.pixels_train.split(500))
    with torch.inference_mode():
        return torch.cat([embed(net, part, precision).cpu() for part in parts])


class Coreset:
    """Real images of each class, chosen by choose(c, members) when it is built; there is nothing to iterate.

    Raises UserError if a class has fewer than ipc images.
    """

    DEFAULTS = {'Iteration': 0, 'outer_loop': 1, 'inner_loop': 1, 'dsa_strategy': 'None'}

    def __init__(self, data: Data, sampler, *, ipc: int, rng: Rng):
        self.data, self.ipc, self.rng = data, ipc, rng
        smallest = min(len(members) for members in data.indices_class)
        if ipc > smallest:
            raise UserError(
                f'--ipc {ipc} is more than the smallest class of {data.name} has ({smallest} images)'
            )
        index = torch.cat([self.choose(c, members) for c, members in enumerate(data.indices_class)])
        self.synset = data.images(index), data.labels_train[index]

    def choose(self, c: int, members: torch.Tensor) -> torch.Tensor:
        """Return ipc of the members (n,) of class c."""
        return UniformSampler(self.data).draw(c, self.ipc, self.rng)

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        """There is nothing to load: the same draws choose the same images."""


class FeatureCoreset(Coreset):
    """A coreset by the extractor's features; SELECT(features, num) chooses within a class."""

    SELECT = None

    def __init__(
        self, data: Data, sampler, *, ipc: int, rng: Rng, cluster_path: str, extractor: str | None,
        extractor_epochs: int | None, feature_net: str | None, lr_net: float, batch_train: int, seed: int,
        precision: str, compile: bool,
    ):  # fmt: skip
        if feature_net:
            settings = cluster_path, feature_net, lr_net, batch_train, seed
            self.features = trained_features(data, *settings, precision=precision, compile=compile)
        else:
            self.features = extractor_features(
                data, cluster_path, extractor, extractor_epochs, seed, precision
            )
        super().__init__(data, sampler, ipc=ipc, rng=rng)

    def choose(self, c, members):
        return members[type(self).SELECT(self.features[members.cpu()], self.ipc).to(members.device)]


class Herding(FeatureCoreset):
    SELECT = staticmethod(herding)


class KCenter(FeatureCoreset):
    SELECT = staticmethod(kcenter)


class KMeansCentres(FeatureCoreset):
    SELECT = staticmethod(kmeans)


class Forgetting(Coreset):
    """The images that a network forgets most often while it learns the whole training set."""

    EPOCHS_ON_ALL = EPOCHS

    def __init__(
        self, data: Data, sampler, *, ipc: int, rng: Rng, cluster_path: str, model: str, lr_net: float,
        batch_train: int, seed: int, precision: str, compile: bool,
    ):  # fmt: skip
        settings = cluster_path, model, lr_net, batch_train, seed, precision, compile
        _, self.events = trained_on_all(data, *settings)
        super().__init__(data, sampler, ipc=ipc, rng=rng)

    def choose(self, c, members):
        return members[most_forgotten(self.events[members.cpu()], self.ipc).to(members.device)]


CORESETS = {
    'random': Coreset,
    'herding': Herding,
    'kcenter': KCenter,
    'kmeans': KMeansCentres,
    'forgetting': Forgetting,
}
