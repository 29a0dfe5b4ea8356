"""Clusters by features that need no extractor.

PCA: principal components of the pixels. The name of a network: its penultimate features, after ten
epochs on all images.

    python main_BS.py --feature_net ConvNetW32 --num_cluster 32 --batch_real 32 --draw stratified
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from dataset.data import Data
from features.clusters import (
    check_k,
    cluster_path,
    make_clusters,
    read_clusters,
    say_fewer,
)
from features.kmeans import check_packages
from features.trained import trained_features
from storage.files import making

COMPONENTS, PIXELS = 64, 32  # components; of images of at most so many pixels a side


def pixel_components(data: Data, num: int = COMPONENTS) -> torch.Tensor:
    """Return the first principal components (N, num) of the training images, in float32.

    Images above 32 pixels a side are shrunk first. Memory does not grow with their number.
    """
    size = [min(side, PIXELS) for side in data.shape[1:]]

    def parts():
        for pixels in data.pixels_train.split(1000):
            images = F.adaptive_avg_pool2d(data.normalise(pixels), size)
            yield images.flatten(1).double().cpu()

    total = len(data.pixels_train)
    mean = sum(part.sum(0) for part in parts()) / total
    covariance = sum((part - mean).T @ (part - mean) for part in parts()) / total
    directions = torch.linalg.eigh(covariance)[1][:, -num:]
    return torch.cat([((part - mean) @ directions).float() for part in parts()])


def named_features(
    data: Data, name: str, folder: str, *, lr_net: float, batch_train: int, seed: int,
    precision: str, compile: bool | str,
) -> torch.Tensor:  # fmt: skip
    """Return the features (N, D) that --feature_net names; a network that is missing is trained."""
    if name == 'PCA':
        return pixel_components(data)
    settings = folder, name, lr_net, batch_train, seed
    return trained_features(data, *settings, precision=precision, compile=compile)


def ensure_named_clusters(
    data: Data, folder: str, name: str, k: int, balanced: bool, *, lr_net: float, batch_train: int,
    seed: int, precision: str,
) -> dict:  # fmt: skip
    """Return the clusters by these features; a missing file, and a missing network, are made.

    Raises UserError if all classes have fewer than k images, or for a stale file.
    """
    check_k(data, k)
    say_fewer(data, k)
    check_packages(balanced)
    # What decides the features is in the name, as in the name of the network's own file.
    settings = {'lr': lr_net, 'batch': batch_train, 'seed': seed, 'precision': precision}
    if name == 'PCA':
        settings = {}
    parts = [f'{key}{value}' for key, value in settings.items()]
    path = Path(cluster_path(folder, data, k, '_'.join([name, *parts]), balanced))
    if not path.exists():
        print(f'{path} is missing: making it')
        # Before the folder is locked: a network that is missing locks it as well.
        features = named_features(
            data, name, folder, lr_net=lr_net, batch_train=batch_train, seed=seed,
            precision=precision, compile=False,
        )  # fmt: skip
        facts = {'features': name, 'data': data.fingerprint} | settings
        with making(path) as missing:
            if missing:
                make_clusters(data, features, path, k=k, layer=name, balanced=balanced, facts=facts)
    return read_clusters(path, data, wanted={'k': k, 'layer': name, 'norm': balanced})
