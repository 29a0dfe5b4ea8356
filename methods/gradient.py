"""Gradient matching: DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929) and DSA (Zhao & Bilen, ICML 2021,
arXiv 2102.08259): learn images whose training gradient is that of the real images, class by class, over
random networks.

    python main.py --method DC --dataset CIFAR10 --ipc 10       # published 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10      # published 52.1 ± 0.5 %
"""

import math
from typing import NamedTuple

import torch

from augment import DSA as SiameseAugmentation
from data import Data
from device import Rng
from methods.distance import reduced_distance
from methods.initial import initial_images, initial_labels
from methods.sampling import UniformSampler
from networks import make_network, redraw
from passes import Gradients
from training import TrainStep, train_epoch


def freeze_batchnorm(net: torch.nn.Module, images: torch.Tensor) -> None:
    """Update the batch-norm statistics of net with real images in train mode, then put only these modules in
    eval mode.

    A class of the synthetic set alone is too small a batch for them (the papers' code does the same at each
    outer step).
    """
    net.train()
    with torch.no_grad():
        net(images)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()


class ClassGradients(NamedTuple):
    """What a matching step knows of a class before its images move."""

    image_syn: torch.Tensor
    seen: torch.Tensor  # image_syn as augmented
    grads_real: list[torch.Tensor]
    grads_syn: list[torch.Tensor]


def mean_over_classes(gradients: list[list[torch.Tensor]]) -> list[torch.Tensor]:
    """Return the mean of gradients, each a list of one tensor a parameter: that of a batch of all classes."""
    return [torch.stack(grads).mean(0) for grads in zip(*gradients, strict=True)]


class GradientMatching:
    """DC. Shaped like an optimizer: .synset, .step(), .state_dict(), .load_state_dict().

    sampler: see methods/sampling.py; model, ipc, … : the flags of the same names; rng: the source of every
    draw. Raises UserError when a class has fewer than ipc images and init is 'real'.
    """

    DEFAULTS = {'init': 'noise', 'dsa_strategy': 'None'}
    BATCHNORM_IMAGES = 16  # real images per class for the statistics

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, outer_loop: int, inner_loop: int, lr_img: float,
        lr_net: float, batch_real: int, batch_train: int, init: str, dsa_strategy: str, dis_metric: str,
        reduce: str, mask_quantile: float | None, level: str, overfit: float | None, precision: str,
        compile: bool, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng = data, sampler, rng
        self.precision = precision
        self.outer_loop, self.inner_loop, self.overfit = outer_loop, inner_loop, overfit
        self.batch_real, self.batch_train, self.level = batch_real, batch_train, level
        self.distance = reduced_distance(dis_metric, reduce, mask_quantile)
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)
        self.net = make_network(model, data.shape[0], data.num_classes, data.shape[1:], rng.device)
        self.batchnorm = any(isinstance(module, torch.nn.BatchNorm2d) for module in self.net.modules())
        self.optimizer_net = torch.optim.SGD(self.net.parameters(), lr_net)
        self.train_step = TrainStep(self.net, self.optimizer_net, precision, compile)
        pixels = data.shape[1] * data.shape[2]
        self.gradients_real = Gradients(self.net, batch_real, pixels, compile)
        self.gradients_syn = Gradients(self.net, ipc, pixels, compile)
        self.ipc, self.uniform = ipc, UniformSampler(data)
        self.image_syn = initial_images(data, ipc, init, rng)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)
        self.iteration = 0
        self._start_iteration()

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The synthetic images (K * I, C, H, W), normalised, class after class, and their labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration: a fresh network, then outer_loop times match all classes and train it on the set.

        When pause() turns true between two outer steps, return None: state_dict() is then complete, and the
        next call goes on. Otherwise return what to log: `loss` (the sum over classes and outer steps / (K *
        outer_loop)), `grad_norm_real` and `grad_norm_syn` (L2 norm of each weight's gradient by name, mean
        over classes and outer steps), `batch_real` (mean number of real images a class and step) and
        `inner_epochs` (of the network). Raises FloatingPointError if the loss or the images are not finite.
        """
        if self.outer == 0:
            redraw(self.net, self.rng.device)
        while self.outer < self.outer_loop:
            self.match()
            self.outer += 1
            if self.outer < self.outer_loop:
                if not self._overfits():
                    self.train_network()
                if pause():
                    self._read_back()
                    return None
        log = self._read_back()
        self.iteration += 1
        self._start_iteration()
        return log

    def _start_iteration(self):
        self.outer, self.num_real, self.inner_epochs = 0, 0, 0
        self.names = [name for name, param in self.net.named_parameters() if param.ndim > 1]
        # The loss, then the norms of the real gradients, then of the synthetic ones.
        self.totals = torch.zeros(1 + 2 * len(self.names), device=self.data.device)

    def match(self):
        """Take one step on the images along the gradient of the distance, summed over classes.

        Class by class, so that memory does not grow with their number: the sum's gradient for the images of a
        class is the gradient of this class's term alone. The level `inter` compares the gradient of all
        classes together instead, `both` adds it (its weight is K, as many as the classes have together).
        """
        num_classes = self.data.num_classes
        if self.batchnorm:
            index = [self.uniform.draw(c, self.BATCHNORM_IMAGES, self.rng) for c in range(num_classes)]
            freeze_batchnorm(self.net, self.data.images(torch.cat(index)))
        self.image_syn.grad = torch.empty_like(self.image_syn)
        self.losses = torch.zeros(2, device=self.data.device)  # of synthetic and real images
        classes, between = (self._gradients(c) for c in range(num_classes)), None
        if self.level != 'intra':
            classes = list(classes)
            means = [
                mean_over_classes([getattr(of_class, grads) for of_class in classes])
                for grads in ('grads_syn', 'grads_real')
            ]
            # The weight K and the share 1 / K that a class has in the mean cancel.
            between = self._compare(*means, weight=num_classes)
        for c, gradients in enumerate(classes):
            direction = between
            if self.level != 'inter':
                direction = self._compare(gradients.grads_syn, gradients.grads_real)
            if self.level == 'both':
                direction = torch._foreach_add(direction, between)
            self._pull(c, gradients, direction)
        self.optimizer_img.step()

    def _gradients(self, c):
        """Return the ClassGradients of class c, and log their norms."""
        index = self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
        image_syn = self.image_syn[self._rows(c)].detach().requires_grad_()
        transform = self.augmentation.draw()  # one draw for both batches: siamese
        image_real = transform(self.data.images(index))
        grads_real, loss_real = self.gradients_real.of_weights(image_real, c, self.precision)
        seen = transform(image_syn)
        # Never in bf16: its change moves the images. (On a GPU in TF32, unless the precision is fp32.)
        grads_syn, loss_syn = self.gradients_syn.of_weights(seen.detach(), c, 'fp32')
        norms = [grad.norm() for grads in (grads_real, grads_syn) for grad in grads if grad.ndim > 1]
        self.totals[1:] += torch.stack(norms)
        self.losses += torch.stack([loss_syn, loss_real])
        self.num_real += len(index)
        return ClassGradients(image_syn, seen, grads_real, grads_syn)

    def _rows(self, c):
        return slice(c * self.ipc, (c + 1) * self.ipc)

    def _compare(self, grads_syn, grads_real, weight=1):
        """Return the derivative of the distance of two gradients for the synthetic one, and log weight times
        the distance."""
        grads_syn = [grad.requires_grad_() for grad in grads_syn]
        distance = self.distance(grads_syn, grads_real)
        self.totals[0] += weight * distance.detach()
        return torch.autograd.grad(distance, grads_syn, materialize_grads=True)

    def _pull(self, c, gradients, direction):
        """Write the gradient for the images of class c, whose weight gradient is to move along direction."""
        image_grad = self.gradients_syn.of_images(gradients.seen.detach(), c, direction)
        (self.image_syn.grad[self._rows(c)],) = torch.autograd.grad(
            gradients.seen, gradients.image_syn, image_grad
        )

    def _overfits(self) -> bool:
        """Tell whether the network's loss on the synthetic images is below the share `overfit` of that on
        real ones (arXiv 2208.00311 stops training it then); waits for the device if there is such a share."""
        return self.overfit is not None and bool(self.losses[0] < self.overfit * self.losses[1])

    def train_network(self):
        """Train the network for inner_loop epochs on the synthetic images."""
        self.inner_epochs += self.inner_loop
        for _ in range(self.inner_loop):
            train_epoch(
                self.train_step, self.image_syn, self.label_syn, self.batch_train, self.rng, self.augmentation
            )

    def _read_back(self):
        """Return the log of the iteration so far: the only time that an iteration waits for the device."""
        finite = torch.isfinite(self.image_syn).all().float()[None]
        finite, *totals = torch.cat([finite, self.totals]).tolist()
        steps = self.data.num_classes * self.outer
        loss, *norms = (total / steps for total in totals)
        if not finite or not math.isfinite(loss):
            raise FloatingPointError(f'loss {loss}')
        real, syn = norms[: len(self.names)], norms[len(self.names) :]
        return {
            'loss': loss,
            'batch_real': self.num_real / steps,
            'inner_epochs': self.inner_epochs,
            'grad_norm_real': dict(zip(self.names, real, strict=True)),
            'grad_norm_syn': dict(zip(self.names, syn, strict=True)),
        }

    def state_dict(self) -> dict:
        """Everything a later process needs to go on exactly here, also between two outer steps."""
        return {
            'image_syn': self.image_syn,
            'optimizer_img': self.optimizer_img.state_dict(),
            'rng': self.rng.state_dict(),
            'iteration': self.iteration,
            'outer': self.outer,
            'num_real': self.num_real,
            'inner_epochs': self.inner_epochs,
            'totals': self.totals,
            'net': self.net.state_dict() if self.outer else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.optimizer_img.load_state_dict(state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        for key in ('iteration', 'outer', 'num_real', 'inner_epochs'):
            setattr(self, key, state[key])
        self.totals.copy_(state['totals'])
        if state['net'] is not None:
            self.net.load_state_dict(state['net'])


class SiameseGradientMatching(GradientMatching):
    """DSA: the same with one differentiable augmentation for both batches, started from real images."""

    DEFAULTS = {'init': 'real', 'dsa_strategy': 'auto'}
