"""The mean image of each class: what a condensed image must beat, and the smallest method to copy.

python main.py --method mean --dataset CIFAR10 --ipc 1 --num_exp 1
"""

import torch

from dataset.data import Data
from methods.initial import check_ipc, initial_labels
from utils import Rng


class ClassMean:
    """Each class is split at random into ipc parts, and an image is the mean of a part.

    There is nothing to iterate, so there is no step. Raises UserError if a class has fewer images.
    """

    def __init__(self, data: Data, sampler, *, ipc: int, rng: Rng):
        check_ipc(data, ipc)
        images = []
        for members in data.indices_class:
            order = torch.randperm(len(members), generator=rng.generator, device=data.device)
            images += [data.images(part).mean(0) for part in members[order].tensor_split(ipc)]
        self.synset = torch.stack(images), initial_labels(data, ipc)  # (K * I, C, H, W), (K * I,)
