"""Coresets: choose real images instead of learning some.

    python main.py --method herding --dataset CIFAR10 --ipc 1 --feature_net ConvNet --num_exp 1
    # published 21.5 ± 1.2 %

At random; by herding (Welling, ICML 2009); k-center (Sener & Savarese, ICLR 2018); forgetting
(Toneva et al., ICLR 2019); images nearest to K-Means centres. Features are those of the extractor
before its classifier, or of --feature_net trained on all images.
"""

import torch

from dataset.data import Data
from dataset.parts import say_small
from features.kmeans import check_packages, nearest_to_centres
from features.named import named_features
from features.trained import EPOCHS, extractor_features, trained_on_all
from methods.initial import check_ipc
from methods.parameterisation import Tiles
from methods.sampling import UniformSampler
from utils import Rng


def herding(features: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of num rows of features (N, D) whose mean is near the mean of all.

    Each is the row that brings the mean of the chosen nearest to it.
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    chosen = []
    for count in range(1, num + 1):
        distance = ((total + features) / count - mean).norm(dim=1)
        distance[chosen] = float('inf')
        chosen.append(int(distance.argmin()))
        total = total + features[chosen[-1]]
    return torch.tensor(chosen)


def kcenter(features: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of num rows of features (N, D) that cover all.

    The first is the nearest to the mean, then always the farthest from those chosen.
    """
    chosen = [int((features - features.mean(0)).norm(dim=1).argmin())]
    nearest = (features - features[chosen[0]]).norm(dim=1)
    for _ in range(num - 1):
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).norm(dim=1))
    return torch.tensor(chosen)


def most_forgotten(events: torch.Tensor, num: int) -> torch.Tensor:
    """Return the positions of the num greatest counts of events (N,); of equal ones the earlier."""
    return torch.sort(events, descending=True, stable=True).indices[:num]


class Coreset:
    """Real images of each class, chosen by choose(c, members) when it is built.

    There is nothing to iterate, so there is no step. factor: the images are shrunk to tiles, and
    factor² times as many are chosen. A small class gives all that it has. Raises UserError if all
    classes have fewer images than needed, or one of them with tiles.
    """

    def __init__(self, data: Data, sampler, *, ipc: int, factor: int, rng: Rng):
        tiles = Tiles(factor, data.shape)
        self.data, self.num, self.rng = data, ipc * factor**2, rng  # of a class
        check_ipc(data, ipc, factor)
        say_small(data, self.num, 'gives all that it has')
        index = torch.cat([self.choose(c, members) for c, members in enumerate(data.indices_class)])
        images = tiles.encode(data.images(index))
        self.stored = images, data.labels_train[index][:: factor**2]
        self.synset = tiles.decode(images), data.labels_train[index]

    def choose(self, c: int, members: torch.Tensor) -> torch.Tensor:
        """Return so many of the members (n,) of class c as are needed."""
        return UniformSampler(self.data).draw(c, self.num, self.rng)


class FeatureCoreset(Coreset):
    """A coreset by the extractor's features; SELECT(features, num) chooses within a class."""

    SELECT = None

    def __init__(
        self, data: Data, sampler, *, ipc: int, factor: int, rng: Rng, cluster_path: str,
        extractor: str | None, extractor_epochs: int | None, feature_net: str | None,
        lr_net: float, batch_train: int, seed: int, precision: str, compile: bool | str,
    ):  # fmt: skip
        # Mistakes show before a network is trained.
        Tiles(factor, data.shape), check_ipc(data, ipc, factor)
        if type(self).SELECT is nearest_to_centres:
            check_packages(balanced=False)
        if feature_net:
            self.features = named_features(
                data, feature_net, cluster_path, lr_net=lr_net, batch_train=batch_train, seed=seed,
                precision=precision, compile=compile,
            )  # fmt: skip
        else:
            self.features = extractor_features(
                data, cluster_path, extractor, extractor_epochs, seed, precision
            )
        super().__init__(data, sampler, ipc=ipc, factor=factor, rng=rng)

    def choose(self, c, members):
        num = min(self.num, len(members))
        return members[type(self).SELECT(self.features[members.cpu()], num).to(members.device)]


class Herding(FeatureCoreset):
    """Images whose mean feature is near the mean of their class."""

    SELECT = staticmethod(herding)


class KCenter(FeatureCoreset):
    """Images that cover their class: each is the farthest from those before it."""

    SELECT = staticmethod(kcenter)


class KMeansCentres(FeatureCoreset):
    """The images nearest to the K-Means centres of their class."""

    SELECT = staticmethod(nearest_to_centres)


class Forgetting(Coreset):
    """The images that a network forgets most often while it learns the whole training set."""

    EPOCHS_ON_ALL = EPOCHS

    def __init__(
        self, data: Data, sampler, *, ipc: int, factor: int, rng: Rng, cluster_path: str,
        model: str, lr_net: float, batch_train: int, seed: int, precision: str, compile: bool | str,
    ):  # fmt: skip
        Tiles(factor, data.shape), check_ipc(data, ipc, factor)
        settings = cluster_path, model, lr_net, batch_train, seed, precision, compile
        _, self.events = trained_on_all(data, *settings)
        super().__init__(data, sampler, ipc=ipc, factor=factor, rng=rng)

    def choose(self, c, members):
        return members[most_forgotten(self.events[members.cpu()], self.num).to(members.device)]
