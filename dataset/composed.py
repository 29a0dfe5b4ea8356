"""Augmentations of several operations at once, with the operations and strengths of DSA.

IDC (Kim et al., ICML 2022, arXiv 2205.14959) applies all of them to a batch; to evaluate it applies
some of them and one of the rest.
"""

from functools import reduce

import torch

from dataset.augment import DSA, Transform


class Composed(DSA):
    """Apply every operation of a strategy in turn; of those in one_of a single one, at the end.

    strategy, shape, rng: see Augmentation.
    """

    def __init__(self, strategy: str, shape: tuple[int, int, int], rng, one_of: tuple = ()):
        super().__init__(strategy, shape, rng)
        self.always = [name for name in self.names if name not in one_of]
        self.one_of = [name for name in self.names if name in one_of]

    def draw(self, num: int = 1) -> Transform:
        """Draw num sets of parameters of each operation: 1 for all images, or one each."""
        names = list(self.always)
        if self.one_of:
            place = torch.randint(len(self.one_of), (), generator=self.rng.host_generator)
            names.append(self.one_of[place])
        transforms = [self.operation(name, num) for name in names]
        return lambda images: reduce(lambda seen, transform: transform(seen), transforms, images)
