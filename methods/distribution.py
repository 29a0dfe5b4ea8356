"""DM, distribution matching (Zhao & Bilen, WACV 2023, arXiv 2110.04181): learn images whose mean embedding is
that of the real ones, class by class, over random networks that are never trained.

    python main.py --method DM --dataset CIFAR10 --ipc 10       # published 48.9 ± 0.6 %

loss = Σ_classes ‖mean embedding of real images − mean embedding of synthetic images‖²
"""

import math

import torch

from augment import DSA as SiameseAugmentation
from data import Data
from device import Rng
from methods.initial import initial_images, initial_labels
from networks import make_network, redraw
from passes import Embeddings


class DistributionMatching:
    """DM. sampler: see methods/sampling.py; model, ipc, … : the flags of the same names.

    All classes go through the network together, in chunks, so that memory does not grow with their number or
    with ipc; networks with batch norm see all classes at once, for their statistics are of the whole batch.
    Raises UserError when a class has fewer than ipc images and init is 'real'.
    """

    DEFAULTS = {
        'Iteration': 20000, 'eval_every': 2000, 'outer_loop': 1, 'inner_loop': 0, 'init': 'real',
        'dsa_strategy': 'auto', 'lr_img': lambda flags: 10.0 if flags['ipc'] >= 100 else 1.0,
    }  # fmt: skip

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, lr_img: float, batch_real: int, init: str,
        dsa_strategy: str, precision: str, compile: bool, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng, self.batch_real = data, sampler, rng, batch_real
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)
        self.net = make_network(model, data.shape[0], data.num_classes, data.shape[1:], rng.device)
        whole = any(isinstance(module, torch.nn.BatchNorm2d) for module in self.net.modules())
        self.embeddings = Embeddings(self.net, data.shape, precision, compile, whole)
        self.image_syn = initial_images(data, ipc, init, rng)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)
        self.iteration = 0

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The synthetic images (K * I, C, H, W), normalised, class after class, and their labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a fresh network, one step on the images. Return what to log: `loss` (the sum over
        classes / K) and `batch_real`. Raises FloatingPointError if the images are not finite."""
        redraw(self.net, self.rng.device)
        self.net.train()
        num_classes = self.data.num_classes
        index, real, seen = [], [], []
        image_syn = self.image_syn.detach().requires_grad_()
        for c, own in enumerate(image_syn.chunk(num_classes)):
            index.append(self.sampler.draw(c, self.batch_real, self.rng, self.iteration))
            transform = self.augmentation.draw()  # one draw for both batches: siamese
            real.append(transform(self.data.images(index[-1])))
            seen.append(transform(own))
        real, seen = torch.cat(real), torch.cat(seen)
        means = [
            self.embeddings.means(images.detach(), labels, num_classes)
            for images, labels in (
                (seen, self.label_syn),
                (real, self.data.labels_train[torch.cat(index)]),
            )
        ]
        difference = means[0] - means[1]  # (K, D)
        # The loss's derivative for the embedding of an image is the same for all images of a class.
        per_image = 2 * difference[self.label_syn] * num_classes / len(seen)
        grad = self.embeddings.of_images(seen.detach(), per_image)
        (self.image_syn.grad,) = torch.autograd.grad(seen, image_syn, grad)
        self.optimizer_img.step()
        self.iteration += 1
        return self._log(difference, len(real) / num_classes)

    def _log(self, difference, batch_real):
        finite = torch.isfinite(self.image_syn).all().float()
        loss = difference.square().sum() / self.data.num_classes
        finite, loss = torch.stack([finite, loss]).tolist()
        if not finite or not math.isfinite(loss):
            raise FloatingPointError(f'loss {loss}')
        return {'loss': loss, 'batch_real': batch_real}

    def state_dict(self) -> dict:
        """Everything a later process needs to go on exactly here."""
        return {
            'image_syn': self.image_syn,
            'optimizer_img': self.optimizer_img.state_dict(),
            'rng': self.rng.state_dict(),
            'iteration': self.iteration,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.optimizer_img.load_state_dict(state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        self.iteration = state['iteration']
