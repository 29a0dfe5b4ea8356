"""DM, distribution matching: learn images with the mean embedding of real images.

Zhao & Bilen, WACV 2023, arXiv 2110.04181. Embeddings are compared class by class, over random
networks that are never trained.

    python main.py --method DM --dataset CIFAR10 --ipc 10       # published 48.9 ± 0.6 %
    loss = Σ_classes ‖mean embedding of real images − mean embedding of synthetic images‖²
"""

import torch

from dataset.augment import DSA as SiameseAugmentation
from dataset.data import Data
from engine.device import read_back
from engine.embeddings import Embeddings
from engine.trial import check_network
from experiment.arguments import Arguments, num_images
from methods.initial import initial_images, initial_labels
from methods.parameterisation import LearnedTiles, Tiles
from networks import has_batchnorm, network_for, redraw
from processes import ranks
from utils import Rng


def usual_lr_img(flags: dict) -> float:
    """1, from 100 images per class on 10"""
    return 10.0 if flags['ipc'] >= 100 else 1.0


class DistributionMatching(LearnedTiles):
    """DM. sampler: see methods/sampling.py; model, ipc, … : the flags of the same names.

    All classes go through the network together, in chunks, so that memory does not grow with their
    number or with ipc. Networks with batch norm see all classes at once, for their statistics are
    of the whole batch. Raises UserError when all classes have too few images to start from.
    """

    DEFAULTS = {'Iteration': 20000, 'eval_every': 2000, 'init': 'real', 'lr_img': usual_lr_img}

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, lr_img: float, batch_real: int,
        init: str, factor: int, dsa_strategy: str, precision: str, compile: bool | str, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng, self.batch_real = data, sampler, rng, batch_real
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)
        self.net = network_for(model, data, rng.generator)
        self.embeddings = Embeddings(
            self.net, data.shape, precision, compile, whole=has_batchnorm(self.net)
        )
        self.tiles = Tiles(factor, data.shape, self.net)
        self.image_syn = initial_images(data, ipc, init, rng, self.tiles, self.net)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)
        self.iteration = 0

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if the network cannot see the real images, or the synthetic ones."""
        smallest = data.num_classes * min(num_images(vars(args)), args.batch_real)
        check_network(args.model, data, smallest, f'--method {args.method}')

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a fresh network, one step on the images.

        Return what to log: `loss` (the sum over classes / K) and `batch_real`. Raises
        FloatingPointError if the images are not finite.
        """
        self.next_network()
        num_classes = self.data.num_classes
        index, real, seen = [], [], []
        image_syn = self.image_syn.detach().requires_grad_()
        for c, own in enumerate(self.tiles.decode(image_syn).chunk(num_classes)):
            index.append(self.sampler.draw(c, self.batch_real, self.rng, self.iteration))
            transform = self.augmentation.draw()  # one draw for both batches: siamese
            real.append(transform(self.data.images(index[-1])))
            seen.append(transform(own))
        real, seen = torch.cat(real), torch.cat(seen)
        label_syn = self.tiles.labels(self.label_syn)
        means = [
            self.embeddings.means(images.detach(), labels, num_classes)
            for images, labels in (
                (seen, label_syn),
                (real, self.data.labels_train[torch.cat(index)]),
            )
        ]
        difference = means[0] - means[1]  # (K, D)
        # The loss's derivative for the embedding of an image is the same for all images of a class.
        per_image = 2 * difference[label_syn] * num_classes / len(seen)
        grad = self.gradient(seen.detach(), per_image, label_syn)
        (self.image_syn.grad,) = torch.autograd.grad(seen, image_syn, grad)
        ranks.copy_first(self.image_syn.grad)
        self.optimizer_img.step()
        self.iteration += 1
        return self._log(difference, len(real) / num_classes)

    def next_network(self) -> None:
        """Make self.net the network of this iteration: a fresh one."""
        redraw(self.net, self.rng.generator)
        self.net.train()

    def gradient(self, images, directions, labels) -> torch.Tensor:
        """Return the gradient for images (N, C, H, W), of embeddings' derivatives directions."""
        return self.embeddings.of_images(images, directions)

    def _log(self, difference, batch_real):
        loss = difference.square().sum() / self.data.num_classes
        (loss,) = read_back(loss[None], self.image_syn)
        return {'loss': loss, 'batch_real': batch_real}
