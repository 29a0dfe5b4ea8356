"""How a synthetic set begins: its images and its labels, class after class."""

import torch
import torch.nn.functional as F

from dataset.data import Data
from dataset.parts import say_small
from features.kmeans import check_packages
from methods.parameterisation import Tiles
from methods.representative import representatives
from methods.sampling import UniformSampler
from utils import Rng, UserError, plural


def check_ipc(data: Data, ipc: int, factor: int = 1) -> None:
    """Raise UserError if no class has enough images to choose ipc, or ipc x factor², from.

    A smaller class gives all that it has. With tiles every class needs enough.
    """
    sizes, needed = [len(members) for members in data.indices_class], ipc * factor**2
    what = f'--ipc {ipc}' if factor == 1 else f'--ipc {ipc} x {factor}² tiles'
    if needed > max(sizes):
        raise UserError(
            f'{what} is more than the largest class of {data.name} has '
            f'({plural(max(sizes), "image")})'
        )
    if factor > 1 and needed > min(sizes):
        raise UserError(
            f'{what} is more than the smallest class of {data.name} has '
            f'({plural(min(sizes), "image")})'
        )


def initial_images(
    data: Data, ipc: int, init: str, rng: Rng, tiles: Tiles | None = None, net=None
) -> torch.Tensor:
    """Return the start of the stored images (K * I, C, H, W).

    init: 'noise', N(0, 1) in normalised space; 'real', random training images; 'mix', such images
    shrunk to the tiles; 'centres', class_centres, of tiles shrunk to them; 'representative', the
    real images nearest to centres of features by net, too. A class with too few images repeats
    them. Raises UserError when all have too few, for mix without tiles, and for features of no
    network.
    """
    if init == 'noise':
        shape = (data.num_classes * ipc, *data.shape)
        return torch.randn(shape, generator=rng.generator, device=rng.generator.device)
    factor = tiles.factor if tiles else 1
    if init == 'mix' and factor == 1:
        raise UserError(
            '--init mix shrinks real images to tiles: it needs --factor 2 or more (DC, DM, IDC, …)'
        )
    needed = ipc if init == 'real' else ipc * factor**2
    if init == 'representative' and net is None:
        raise UserError('--init representative needs features of a network, and KIP has none')
    sizes = [len(members) for members in data.indices_class]
    if max(sizes) < needed:
        name = data.class_names[sizes.index(max(sizes))]
        many, fewer = (f' ({ipc} x {factor}² tiles)', '--factor 1') if needed > ipc else ('', '')
        raise UserError(
            f'--init {init} needs {plural(needed, "image")} in a class{many}, but the largest, '
            f'{name!r}, has {max(sizes)}; use {fewer or "a smaller --ipc"} or --init noise'
        )
    say_small(data, needed, 'repeats them')
    classes = range(data.num_classes)
    if init in ('centres', 'representative'):
        check_packages(balanced=False)
    if init == 'centres':
        parts = [class_centres(data, c, min(needed, sizes[c]), rng, factor) for c in classes]
    elif init == 'representative':
        index = [representatives(net, data, c, min(needed, sizes[c]), rng, 'fp32') for c in classes]
        parts = [data.images(part) for part in index]
    else:
        sampler = UniformSampler(data)
        parts = [data.images(sampler.draw(c, needed, rng)) for c in classes]
    parts = [part[torch.arange(needed, device=part.device) % len(part)] for part in parts]
    images = torch.cat(parts)
    return images if init == 'real' or factor == 1 else tiles.encode(images)


def class_centres(data: Data, c: int, num: int, rng: Rng, factor: int = 1) -> torch.Tensor:
    """Return the K-Means centres (num, C, H, W) of the pixels of class c (of 1: its mean).

    factor: images that will be shrunk so many times are clustered as they will be, which is as
    many times squared faster.
    """
    images = data.images(data.indices_class[c])
    if num == 1:
        return images.mean(0, keepdim=True)
    from sklearn.cluster import KMeans

    seed = int(torch.randint(2**31, (), generator=rng.host_generator))
    # In double precision: K-Means in single precision depends on the order of its sums.
    points = F.avg_pool2d(images, factor).flatten(1).double().cpu().numpy()
    labels = torch.from_numpy(KMeans(num, n_init=1, random_state=seed).fit_predict(points))
    # Clusters stay empty where images coincide: an image stands in.
    groups = [images[(labels == j).to(images.device)] for j in range(num)]
    return torch.stack(
        [group.mean(0) if len(group) else images[j] for j, group in enumerate(groups)]
    )


def initial_labels(data: Data, ipc: int) -> torch.Tensor:
    """Return the labels (K * I,): ipc times each class."""
    return torch.arange(data.num_classes, device=data.device).repeat_interleave(ipc)
