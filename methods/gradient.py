"""Gradient matching: DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929) and DSA (Zhao & Bilen, ICML 2021,
arXiv 2102.08259): learn images whose training gradient is that of the real images, class by class, over
random networks.

    python main.py --method DC --dataset CIFAR10 --ipc 10       # published 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10      # published 52.1 ± 0.5 %
"""

import math

import torch

from augment import DSA as SiameseAugmentation
from data import Data
from device import Rng
from errors import UserError
from methods.distance import DISTANCES
from methods.sampling import UniformSampler
from networks import make_network, redraw
from passes import Gradients
from training import train_epoch


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


class GradientMatching:
    """DC. Shaped like an optimizer: .synset, .step(), .state_dict(), .load_state_dict().

    sampler: see methods/sampling.py; model, ipc, … : the flags of the same names; rng: the source of every
    draw. Raises UserError when a class has fewer than ipc images and init is 'real'.
    """

    DEFAULTS = {'init': 'noise', 'dsa_strategy': 'None'}
    BATCHNORM_IMAGES = 16  # real images per class for the statistics

    def __init__(
        self,
        data: Data,
        sampler,
        *,
        model: str,
        ipc: int,
        outer_loop: int,
        inner_loop: int,
        lr_img: float,
        lr_net: float,
        batch_real: int,
        batch_train: int,
        init: str,
        dsa_strategy: str,
        dis_metric: str,
        precision: str,
        compile: bool,
        rng: Rng,
    ):
        self.data, self.sampler, self.rng = data, sampler, rng
        self.precision, self.compile = precision, compile
        self.outer_loop, self.inner_loop = outer_loop, inner_loop
        self.batch_real, self.batch_train, self.distance = batch_real, batch_train, DISTANCES[dis_metric]
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)
        self.net = make_network(model, data.shape[0], data.num_classes, data.shape[1:], rng.device)
        self.batchnorm = any(isinstance(module, torch.nn.BatchNorm2d) for module in self.net.modules())
        self.optimizer_net = torch.optim.SGD(self.net.parameters(), lr_net)
        pixels = data.shape[1] * data.shape[2]
        self.gradients_real = Gradients(self.net, batch_real, pixels, compile)
        self.gradients_syn = Gradients(self.net, ipc, pixels, compile)
        self.ipc, self.uniform = ipc, UniformSampler(data)
        self.label_syn = torch.arange(data.num_classes, device=data.device).repeat_interleave(ipc)
        self.image_syn = self._initial_images(init)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)
        self.iteration = 0
        self._start_iteration()

    def _initial_images(self, init):
        """Draw (K * I, C, H, W): noise N(0, 1) in normalised space, or random real images."""
        num_classes, generator = self.data.num_classes, self.rng.device
        if init == 'noise':
            return torch.randn(
                (num_classes * self.ipc, *self.data.shape), generator=generator, device=generator.device
            )
        smallest = min(range(num_classes), key=lambda c: len(self.data.indices_class[c]))
        if len(self.data.indices_class[smallest]) < self.ipc:
            raise UserError(
                f'--init real needs {self.ipc} images in every class, but class '
                f'{self.data.class_names[smallest]!r} has {len(self.data.indices_class[smallest])}; '
                'use a smaller --ipc or --init noise'
            )
        return torch.cat(
            [self.data.images(self.uniform.draw(c, self.ipc, self.rng)) for c in range(num_classes)]
        )

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The synthetic images (K * I, C, H, W), normalised, class after class, and their labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration: a fresh network, then outer_loop times match all classes and train it on the set.

        When pause() turns true between two outer steps, return None: state_dict() is then complete, and the
        next call goes on. Otherwise return what to log: `loss` (the sum over classes and outer steps / (K *
        outer_loop)), `grad_norm_real` and `grad_norm_syn` (L2 norm of each weight's gradient by name, mean
        over classes and outer steps) and `batch_real` (mean number of real images a class and step). Raises
        FloatingPointError if the loss or the images are not finite.
        """
        if self.outer == 0:
            redraw(self.net, self.rng.device)
        while self.outer < self.outer_loop:
            self.match()
            self.outer += 1
            if self.outer < self.outer_loop:
                self.train_network()
                if pause():
                    self._read_back()
                    return None
        log = self._read_back()
        self.iteration += 1
        self._start_iteration()
        return log

    def _start_iteration(self):
        self.outer, self.num_real = 0, 0
        self.names = [name for name, param in self.net.named_parameters() if param.ndim > 1]
        # The loss, then the norms of the real gradients, then of the synthetic ones.
        self.totals = torch.zeros(1 + 2 * len(self.names), device=self.data.device)

    def match(self):
        """Take one step on the images along the gradient of the distance, summed over classes.

        Class by class, so that memory does not grow with their number: the sum's gradient for the images of a
        class is the gradient of this class's term alone.
        """
        num_classes = self.data.num_classes
        if self.batchnorm:
            index = [self.uniform.draw(c, self.BATCHNORM_IMAGES, self.rng) for c in range(num_classes)]
            freeze_batchnorm(self.net, self.data.images(torch.cat(index)))
        self.image_syn.grad = torch.empty_like(self.image_syn)
        for c in range(num_classes):
            index = self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
            rows = slice(c * self.ipc, (c + 1) * self.ipc)
            gradient, loss, grads_real, grads_syn = self._match_class(
                c, self.data.images(index), self.image_syn[rows]
            )
            self.image_syn.grad[rows] = gradient
            norms = [grad.norm() for grads in (grads_real, grads_syn) for grad in grads if grad.ndim > 1]
            self.totals += torch.stack([loss, *norms])
            self.num_real += len(index)
        self.optimizer_img.step()

    def _match_class(self, c, image_real, image_syn):
        """Return, for class c, the distance's gradient for image_syn, the distance, and both gradients."""
        image_syn = image_syn.detach().requires_grad_()
        transform = self.augmentation.draw()  # one draw for both batches: siamese
        grads_real = self.gradients_real.of_weights(transform(image_real), c, self.precision)
        seen = transform(image_syn)
        # In fp32 at every precision: its change moves the images.
        grads_syn = self.gradients_syn.of_weights(seen.detach(), c, 'fp32')
        loss = self.distance([grad.requires_grad_() for grad in grads_syn], grads_real)
        direction = torch.autograd.grad(loss, grads_syn, materialize_grads=True)
        (gradient,) = torch.autograd.grad(
            seen, image_syn, self.gradients_syn.of_images(seen.detach(), c, direction)
        )
        return gradient, loss.detach(), grads_real, [grad.detach() for grad in grads_syn]

    def train_network(self):
        for _ in range(self.inner_loop):
            train_epoch(
                self.net,
                self.image_syn,
                self.label_syn,
                self.optimizer_net,
                self.batch_train,
                self.rng,
                self.augmentation,
                self.precision,
                self.compile,
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
            'totals': self.totals,
            'net': self.net.state_dict() if self.outer else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.optimizer_img.load_state_dict(state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        self.iteration, self.outer, self.num_real = (state[key] for key in ('iteration', 'outer', 'num_real'))
        self.totals.copy_(state['totals'])
        if state['net'] is not None:
            self.net.load_state_dict(state['net'])


class SiameseGradientMatching(GradientMatching):
    """DSA: the same with one differentiable augmentation for both batches, started from real images."""

    DEFAULTS = {'init': 'real', 'dsa_strategy': 'auto'}
