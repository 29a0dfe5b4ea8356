"""Gradient matching: learn images with the training gradient of real images, class by class.

DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929) matches over random networks. DSA (Zhao &
Bilen, ICML 2021, arXiv 2102.08259) does so through one differentiable augmentation of both batches.

    python main.py --method DC --dataset CIFAR10 --ipc 10       # published 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10      # published 52.1 ± 0.5 %
"""

from typing import NamedTuple

import torch

from dataset.augment import DSA as SiameseAugmentation
from dataset.data import Data
from engine.device import read_back
from engine.gradients import Gradients
from engine.training import TrainStep, freeze_batchnorm, train_epoch
from experiment.flags import published_strategy
from methods.distance import mean_over_classes, reduced_distance
from methods.initial import initial_images, initial_labels
from methods.presets import preset_inner_loop, preset_outer_loop, usual_lr_img, usual_quantile
from methods.sampling import UniformSampler
from networks import make_network, redraw
from utils import Rng


class ClassGradients(NamedTuple):
    """What a matching step knows of a class before its images move."""

    image_syn: torch.Tensor  # (I, C, H, W)
    seen: torch.Tensor  # image_syn as augmented
    grads_real: list[torch.Tensor]  # one a parameter
    grads_syn: list[torch.Tensor]


class GradientMatching:
    """DC, shaped like an optimizer: .synset, .step(), .state_dict(), .load_state_dict().

    sampler: see methods/sampling.py; model, ipc, … : the flags of the same names; rng: the source
    of every draw. Raises UserError when a class has fewer than ipc images and init is 'real'.
    """

    DEFAULTS = {
        'outer_loop': preset_outer_loop,
        'inner_loop': preset_inner_loop,
        'lr_img': usual_lr_img,
        'mask_quantile': usual_quantile,
    }
    BATCHNORM_IMAGES = 16  # real images per class for the statistics
    COUNTERS = 'iteration', 'outer', 'num_real', 'inner_epochs'

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, outer_loop: int, inner_loop: int,
        lr_img: float, lr_net: float, batch_real: int, batch_train: int, init: str, dis_metric: str,
        reduce: str, mask_quantile: float | None, level: str, overfit: float | None, precision: str,
        compile: bool, rng: Rng, dsa_strategy: str = 'None',
    ):  # fmt: skip
        self.data, self.sampler, self.rng = data, sampler, rng
        self.precision = precision
        self.outer_loop, self.inner_loop, self.overfit = outer_loop, inner_loop, overfit
        self.batch_real, self.batch_train, self.level = batch_real, batch_train, level
        self.distance = reduced_distance(dis_metric, reduce, mask_quantile)
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)

        # One network for all iterations: its weights are drawn again at each.
        shape = data.shape
        self.net = make_network(model, shape[0], data.num_classes, shape[1:], rng.generator)
        norms = (isinstance(module, torch.nn.BatchNorm2d) for module in self.net.modules())
        self.batchnorm = any(norms)
        self.optimizer_net = torch.optim.SGD(self.net.parameters(), lr_net)
        self.train_step = TrainStep(self.net, self.optimizer_net, precision, compile)
        pixels = shape[1] * shape[2]
        self.gradients_real = Gradients(self.net, batch_real, pixels, compile)
        self.gradients_syn = Gradients(self.net, ipc, pixels, compile)

        # The synthetic set, class after class.
        self.ipc, self.uniform = ipc, UniformSampler(data)
        self.rows = [slice(c * ipc, (c + 1) * ipc) for c in range(data.num_classes)]
        self.image_syn = initial_images(data, ipc, init, rng)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)
        self.iteration = 0
        self._start_iteration()

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I, C, H, W), class after class, and labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration: a fresh network, then outer_loop times match all classes and train it.

        When pause() turns true between two outer steps, return None: state_dict() is then complete,
        and the next call continues. Otherwise return what to log. `loss`, `grad_norm_real` and
        `grad_norm_syn` are means over classes and outer steps, the norms L2 of each weight's
        gradient, by name. `batch_real` is the mean number of real images a class and step, and
        `inner_epochs` is of the network. Raises FloatingPointError if the loss or the images are
        not finite.
        """
        if self.outer == 0:
            redraw(self.net, self.rng.generator)
        while self.outer < self.outer_loop:
            self.match()
            self.outer += 1
            # No training after the last match: nothing would use the trained network.
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
        """Take one step on the images along the gradient of the distance, summed over classes."""
        num_classes = self.data.num_classes

        # Batch norm gets its statistics from real images of all classes.
        if self.batchnorm:
            num, classes = self.BATCHNORM_IMAGES, range(num_classes)
            draws = [self.uniform.draw(c, num, self.rng) for c in classes]
            freeze_batchnorm(self.net, self.data.images(torch.cat(draws)))
        self.image_syn.grad = torch.empty_like(self.image_syn)
        self.losses = torch.zeros(2, device=self.data.device)  # of synthetic and real images

        # The gradients of every class. Alone (intra), a class moves its images at once and is
        # forgotten: only its own term of the sum depends on its images, and memory stays flat.
        classes = []
        for c in range(num_classes):
            gradients = self._gradients(c)
            if self.level == 'intra':
                direction = self._compare(gradients.grads_syn, gradients.grads_real)
                self._pull(c, gradients, direction)
            else:
                classes.append(gradients)

        # The distance of the gradients of all classes together. Its weight K, as many as classes
        # have in the sum, and the share 1 / K that a class has in the mean cancel.
        if classes:
            mean_syn = mean_over_classes([gradients.grads_syn for gradients in classes])
            mean_real = mean_over_classes([gradients.grads_real for gradients in classes])
            between = self._compare(mean_syn, mean_real, weight=num_classes)
        for c, gradients in enumerate(classes):
            direction = between
            if self.level == 'both':
                own = self._compare(gradients.grads_syn, gradients.grads_real)
                direction = torch._foreach_add(own, between)
            self._pull(c, gradients, direction)

        # One step for the images of all classes.
        self.optimizer_img.step()

    def _gradients(self, c):
        """Return the ClassGradients of class c, and log their norms."""
        index = self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
        image_syn = self.image_syn[self.rows[c]].detach().requires_grad_()  # (I, C, H, W)
        transform = self.augmentation.draw()  # one draw for both batches: siamese
        image_real = transform(self.data.images(index))
        grads_real, loss_real = self.gradients_real.of_weights(image_real, c, self.precision)
        seen = transform(image_syn)
        # Never in bf16: its change moves the images. (On a GPU in TF32, unless precision is fp32.)
        grads_syn, loss_syn = self.gradients_syn.of_weights(seen.detach(), c, 'fp32')
        both = (grads_real, grads_syn)
        norms = [grad.norm() for grads in both for grad in grads if grad.ndim > 1]
        self.totals[1:] += torch.stack(norms)
        self.losses += torch.stack([loss_syn, loss_real])
        self.num_real += len(index)
        return ClassGradients(image_syn, seen, grads_real, grads_syn)

    def _compare(self, grads_syn, grads_real, weight=1):
        """Return the distance's derivative for the synthetic gradient; log weight x distance."""
        grads_syn = [grad.requires_grad_() for grad in grads_syn]
        distance = self.distance(grads_syn, grads_real)
        self.totals[0] += weight * distance.detach()
        # Weights that the distance ignores, such as biases, get a derivative of 0.
        return torch.autograd.grad(distance, grads_syn, materialize_grads=True)

    def _pull(self, c, gradients, direction):
        """Write the gradient of class c's images, whose weight gradient should follow direction."""
        image_grad = self.gradients_syn.of_images(gradients.seen.detach(), c, direction)
        # Back through the augmentation, from what the network saw to what is stored.
        (self.image_syn.grad[self.rows[c]],) = torch.autograd.grad(
            gradients.seen, gradients.image_syn, image_grad
        )

    def _overfits(self) -> bool:
        """Tell whether the loss on synthetic images is below the share `overfit` of the real one.

        arXiv 2208.00311 stops training the network then. Waits for the device if there is a share.
        """
        return self.overfit is not None and bool(self.losses[0] < self.overfit * self.losses[1])

    def train_network(self):
        """Train the network for inner_loop epochs on the synthetic images."""
        self.inner_epochs += self.inner_loop
        for _ in range(self.inner_loop):
            train_epoch(
                self.train_step, *self.synset, self.batch_train, self.rng, self.augmentation
            )

    def _read_back(self):
        """Return the log of the iteration so far: the only time that it waits for the device."""
        steps = self.data.num_classes * self.outer
        totals = read_back(self.totals, self.image_syn)
        loss, *norms = (total / steps for total in totals)
        real, syn = norms[: len(self.names)], norms[len(self.names) :]
        return {
            'loss': loss,
            'batch_real': self.num_real / steps,
            'inner_epochs': self.inner_epochs,
            'grad_norm_real': dict(zip(self.names, real, strict=True)),
            'grad_norm_syn': dict(zip(self.names, syn, strict=True)),
        }

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue here, also between outer steps."""
        return {name: getattr(self, name) for name in self.COUNTERS} | {
            'image_syn': self.image_syn,
            'optimizer_img': self.optimizer_img.state_dict(),
            'rng': self.rng.state_dict(),
            'totals': self.totals,
            'net': self.net.state_dict() if self.outer else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.optimizer_img.load_state_dict(state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        for name in self.COUNTERS:
            setattr(self, name, state[name])
        self.totals.copy_(state['totals'])
        if state['net'] is not None:
            self.net.load_state_dict(state['net'])


class SiameseGradientMatching(GradientMatching):
    """DSA: one differentiable augmentation for both batches, started from real images."""

    DEFAULTS = GradientMatching.DEFAULTS | {'init': 'real', 'dsa_strategy': published_strategy}
