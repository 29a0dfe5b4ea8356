"""Clusters of each class: made by K-Means on features, kept in a file, checked when they are read.

    clustering/class_idx_<dataset>_k{K}_{layer}_{norm}.pt       {class: {cluster: [indices]}}

Indices point into the training set. norm True: clusters of about equal size, by K-Means with size
constraints. They have n/k ± 50 members, or ± half of n/k if that is less. norm False: plain
K-Means. Our files are {'format': 1, 'clusters': the dict above, 'facts': from which extractor, with
which sizes, inertia and silhouette, in how many seconds}.
"""

import hashlib
import json
import time
from pathlib import Path

import numpy as np
import torch

from dataset.data import Data
from dataset.parts import say
from features.extractor import check_own, ensure_extractor, extractor_path, layer_features
from features.kmeans import check_packages, cluster_classes
from processes import ranks
from storage.files import file_hash, load_tensors, making, save_tensors
from storage.kinds import check, count, fault, number, switch, word
from utils import UserError, plural

Clusters = dict[int, dict[int, list[int]]]
FORMAT = 1
CLUSTERS = {int: {int: [count]}}
FACTS = {
    'k': count,
    'layer': lambda value: count(value) or word(value),  # or the features, such as PCA
    'norm': switch,
    'size_min': count,
    'size_max': count,
    'silhouette': [lambda value: value is None or number(value)],
    'seconds': number,
    'extractor': {'hash?': word, 'data?': word, 'epochs?': count},
}
KIND = {
    'format': lambda value: count(value) and value == FORMAT,
    'clusters': CLUSTERS,
    'facts': FACTS,
}
REMEDY = 'restore the file from a copy, or have it made again in another --cluster_path'


def cluster_path(folder: str | Path, data: Data, k: int, layer: int | str, balanced: bool) -> Path:
    """Return the cluster file of a data set; layer: of the extractor, or a name of features."""
    return Path(folder) / f'class_idx_{data.name.lower()}_k{k}_{layer}_{balanced}.pt'


def make_clusters(
    data: Data, features: torch.Tensor, path: Path, *, k: int, layer: int | str,
    balanced: bool, facts: dict,
) -> None:  # fmt: skip
    """Cluster features (N, D) of the training set class by class, and write the file.

    facts: what is known of the extractor. Raises UserError if all classes have fewer than k images,
    or features are not finite.
    """
    check_k(data, k)
    check_finite(features, f'layer {layer}')
    started = time.monotonic()

    # K-Means class by class.
    classes = [index.cpu().numpy() for index in data.indices_class]
    results = cluster_classes(features, classes, k, balanced, f'layer {layer}, k {k}')

    # Positions within a class become positions in the training set.
    clusters = {
        c: {
            cluster: nearest_first(index[labels == cluster], features)
            for cluster in range(min(k, len(index)))
        }
        for c, (index, (labels, _, _)) in enumerate(zip(classes, results, strict=True))
    }
    # What a person wants to know of the clusters, without loading them.
    sizes = [len(members) for of_class in clusters.values() for members in of_class.values()]
    summary = {
        'dataset': data.name,
        'num_images': len(data.labels_train),
        'k': k,
        'layer': layer,
        'norm': balanced,
        'extractor': facts,
        'size_min': min(sizes),
        'size_mean': float(np.mean(sizes)),
        'size_max': max(sizes),
        'inertia': [inertia for _, inertia, _ in results],
        'silhouette': [None if np.isnan(score) else score for _, _, score in results],
        'seconds': time.monotonic() - started,
    }
    save_tensors(path, {'format': FORMAT, 'clusters': clusters, 'facts': summary})


def check_finite(features: torch.Tensor, what: str) -> None:
    """Raise UserError unless all features are finite."""
    # A distance that is no number would choose the first images of a class without a word.
    if not features.isfinite().all():
        raise UserError(
            f'the features of {what} are not finite: the network has diverged; use a smaller '
            '--lr_net, or another --extractor'
        )


def nearest_first(members: np.ndarray, features: torch.Tensor) -> list[int]:
    """Order the members of a cluster by the distance of their features to the cluster's mean."""
    # The order is what --draw centroid takes its images by.
    points = features[torch.from_numpy(members)]
    distances = (points - points.mean(0)).norm(dim=1).numpy()
    # A stable sort: equal distances must not depend on the version of a library.
    return members[np.argsort(distances, kind='stable')].tolist()


def fingerprint(clusters: Clusters) -> str:
    """Return 16 letters that tell clusters from others."""
    # The order counts: draws take members by their places.
    parts = [list(clusters[c].values()) for c in sorted(clusters)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def check_k(data: Data, k: int) -> None:
    """Raise UserError if no class has k images."""
    sizes = [len(members) for members in data.indices_class]
    if k > max(sizes):
        name = data.class_names[sizes.index(max(sizes))]
        raise UserError(
            f'--num_cluster {k} is more than the largest class, {name!r}, has images ({max(sizes)})'
        )


def say_fewer(data: Data, k: int) -> None:
    """Say which classes have fewer images than k, and so fewer clusters."""
    sizes = [len(members) for members in data.indices_class]
    small = [c for c, size in enumerate(sizes) if size < k]
    # No more than three: of a long-tailed set nearly every class would fill the screen.
    for c in small[:3]:
        num = plural(sizes[c], 'image')
        say(data.name, f'class {data.class_names[c]!r} has {num}: so many clusters')


def read_clusters(
    path: Path, data: Data, extractor_hash: str | None = None, wanted: dict | None = None
) -> Clusters:
    """Read a cluster file, ours or the original's; check that it is a partition of each class.

    extractor_hash, and wanted, {'k': …, 'layer': …, 'norm': …}, if given, must equal the facts in
    the file. Raises UserError for a stale or foreign file.
    """
    # A file is checked each time it is read: a stale one gives a wrong result without a word.
    stored, facts = load_clusters(path)

    # The original's files have NumPy integers as keys and members.
    clusters = {
        int(c): {int(cluster): [int(i) for i in part] for cluster, part in of_class.items()}
        for c, of_class in stored.items()
    }

    # Every image of every class once: else a batch would silently miss some.
    if sorted(clusters) != list(range(data.num_classes)):
        found = f'{plural(len(clusters), "class")}, numbered from {min(clusters, default=0)}'
        raise UserError(f'{path} has {found}; {data.name} has {data.num_classes}, from 0; {REMEDY}')
    for c, members in enumerate(data.indices_class):
        if sorted(i for part in clusters[c].values() for i in part) != members.tolist():
            raise UserError(
                f'{path} is not a partition of class {c} of {data.name}: other data or length; '
                f'{REMEDY}'
            )

    # What its name promises: a file may have been renamed.
    for name, value in (wanted or {}).items():
        found = facts.get(name, max(map(len, clusters.values())) if name == 'k' else value)
        if found != value:
            raise UserError(f'{path} holds clusters of {name} {found}, not {value}; {REMEDY}')

    # The same data and extractor: labels alone cannot tell.
    extractor = facts.get('extractor', {})
    made_with = extractor.get('hash', extractor_hash)
    made_from = extractor.get('data', data.fingerprint)
    if extractor_hash and made_with != extractor_hash:
        raise UserError(f'{path} was made with another extractor ({str(made_with)[:8]}); {REMEDY}')
    if made_from not in (None, data.fingerprint):  # None: of any copy with these labels
        raise UserError(f'{path} was made from other pixels of the name {data.name}; {REMEDY}')
    return clusters


def load_clusters(path: Path) -> tuple[dict, dict]:
    """Return what a cluster file holds, and its facts, {} if it is the original's."""
    stored = load_tensors(path, 'cluster file')
    # The original's file is the dict alone.
    if fault(stored, CLUSTERS) is None:
        return stored, {}
    check(path, 'cluster file', stored, KIND, REMEDY)
    return stored['clusters'], stored['facts']


def facts_of(path: Path) -> dict:
    """Return what a cluster file says of how it was made, {} if it is the original's."""
    return load_clusters(path)[1]


def ensure_clusters(
    data: Data, folder: str | Path, *, layers: list[int], ks: list[int], balanced: bool,
    extractor: str | None, epochs: int | None, seed: int, precision: str,
) -> list[Path]:  # fmt: skip
    """Make the missing cluster files of all layers and numbers from one pass; return all paths.

    Raises UserError if a file that is there was made from other data or with another extractor.
    """
    # What is there is checked first, and so is what the rest needs: both take seconds.
    for k in ks:
        check_k(data, k)
        say_fewer(data, k)
    wanted = [
        (layer, k, cluster_path(folder, data, k, layer, balanced)) for layer in layers for k in ks
    ]
    missing = ranks.from_first([part for part in wanted if not part[2].exists()])
    weights = extractor_path(folder, data, extractor)
    if extractor and not weights.exists():
        raise UserError(f'--extractor {weights}: no such extractor')
    digest = file_hash(weights) if weights.exists() else None
    for part in wanted:
        if part not in missing:
            settings = {'k': part[1], 'layer': part[0], 'norm': balanced}
            read_clusters(part[2], data, digest, settings)
            made_by = facts_of(part[2]).get('extractor', {})
            check_own(weights, made_by, data, None if extractor else epochs)
    if missing:
        check_packages(balanced)

    # One pass of the extractor gives the features of all layers.
    if missing:
        print('missing, made now:', *(str(path) for _, _, path in missing))
        net, facts = ensure_extractor(
            data, folder, extractor, epochs=epochs, seed=seed, precision=precision
        )
        features = layer_features(net, data, precision)
        # Each rank makes its share; another process may be at the same files.
        for layer, k, path in missing[ranks.rank() :: ranks.size()]:
            with making(path) as still:  # another process may have made it meanwhile
                if still:
                    settings = {'k': k, 'layer': layer, 'balanced': balanced, 'facts': facts}
                    make_clusters(data, features[layer], path, **settings)
        ranks.wait()  # each has made its share of the files
    return [path for _, _, path in wanted]
