"""The mean image of each class: what a condensed image must beat, and the smallest method to copy.

python main.py --method mean --dataset CIFAR10 --ipc 1 --num_exp 1
"""

import torch

from dataset.data import Data
from dataset.parts import say_small
from methods.initial import check_ipc
from utils import Rng


class ClassMean:
    """Each class is split at random into ipc parts, and an image is the mean of a part.

    There is nothing to iterate, so there is no step. Raises UserError if all have fewer images.
    """

    def __init__(self, data: Data, sampler, *, ipc: int, rng: Rng):
        check_ipc(data, ipc)
        say_small(data, ipc, 'gives all that it has')
        images, labels = [], []
        for c, members in enumerate(data.indices_class):
            order = torch.randperm(len(members), generator=rng.generator, device=data.device)
            parts = members[order].tensor_split(min(ipc, len(members)))
            images += [data.images(part).mean(0) for part in parts]
            labels += [c] * len(parts)
        # (K * I, C, H, W), (K * I,); fewer where a class is small
        self.synset = torch.stack(images), torch.tensor(labels, device=data.device)
