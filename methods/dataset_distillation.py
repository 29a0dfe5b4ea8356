"""DD, dataset distillation: learn images, and the step sizes of gradient descent on them.

Wang et al. 2018, arXiv 1811.10959. A few steps on the images should bring a fresh random network to
a small loss on real images.

    python main.py --method DD --dataset MNIST --model LeNet --ipc 10
    python main.py --method DD --dataset CIFAR10 --model AlexNet --ipc 10  # published 36.8 ± 1.2 %

Step t sees one image of every class, and has a step size of its own: methods/unrolling.py.
"""

import math

import torch

from dataset.data import Data
from engine.device import read_back
from engine.gradients import Gradients
from engine.training import load_optimizer
from engine.trial import check_network
from experiment.arguments import Arguments
from methods.initial import initial_images, initial_labels
from methods.unrolling import Unrolled
from networks import has_batchnorm, network_for, redraw
from processes import ranks
from utils import Rng, UserError


class DatasetDistillation:
    """DD. sampler: see methods/sampling.py; model, ipc, … : the flags of the same names.

    inner_loop: how often the steps go over the set; T = inner_loop x ipc. lr_net: the first step
    size; every step learns its own. Raises UserError for a network with batch norm.
    """

    DEFAULTS = {'inner_loop': 3, 'lr_img': 0.01, 'batch_real': 100}

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, inner_loop: int, lr_img: float,
        lr_net: float, batch_real: int, init: str, precision: str, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng, self.batch_real = data, sampler, rng, batch_real
        self.ipc, self.precision, self.num_steps = ipc, precision, inner_loop * ipc
        self.net = network_for(model, data, rng.generator)
        if has_batchnorm(self.net):
            raise UserError(f'--method DD cannot train {model}: use a network without batch norm')
        pixels = data.shape[1] * data.shape[2]
        self.unrolled = Unrolled(self.net, data.num_classes, pixels)
        self.gradients = Gradients(self.net, batch_real * data.num_classes, pixels, compile=False)
        self.image_syn = initial_images(data, ipc, init, rng, net=self.net)
        self.label_syn = initial_labels(data, ipc)
        # The logarithm, so that a step size stays positive.
        self.log_lr = torch.full((self.num_steps,), math.log(lr_net), device=data.device)
        self.optimizer = torch.optim.Adam([self.image_syn, self.log_lr], lr_img)
        self.iteration = 0

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if the network cannot see a step's images, one of every class."""
        if args.inner_loop < 1:
            raise UserError('--inner_loop 0: --method DD learns through one pass or more')
        check_network(args.model, data, data.num_classes, f'--method {args.method}')

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I, C, H, W), class after class, and labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a fresh network, T steps on the set, the loss on real images, and back.

        Return what to log: `loss` (mean cross-entropy of the real batch after the steps),
        `batch_real` and `lr_net` (the T step sizes). Raises FloatingPointError if the images are
        not finite.
        """
        redraw(self.net, self.rng.generator)
        draws = [
            self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
            for c in range(self.data.num_classes)
        ]
        loss, self.image_syn.grad, self.log_lr.grad = self.differentiate(torch.cat(draws))
        ranks.copy_first(loss, self.image_syn.grad, self.log_lr.grad)
        self.optimizer.step()
        self.iteration += 1
        numbers = torch.cat([loss[None], self.log_lr.exp()])
        loss, *rates = read_back(numbers, self.image_syn, self.log_lr)
        return {'loss': loss, 'batch_real': sum(map(len, draws)) / len(draws), 'lr_net': rates}

    def differentiate(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the loss of the real images at index after T steps, and its derivatives.

        They are for the synthetic images and for the logarithms of the step sizes. The first step
        starts from the weights of the network.
        """
        # Step t sees one image of every class.
        first = torch.arange(self.data.num_classes, device=self.data.device) * self.ipc
        batches = [first + step % self.ipc for step in range(self.num_steps)]
        real = self.data.images(index), self.data.labels_train[index], self.precision
        return self.unrolled.differentiate(
            self.image_syn, self.label_syn, batches, self.log_lr.exp(),
            lambda: self.gradients.of_weights(*real),
        )  # fmt: skip

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue exactly here."""
        return {
            'image_syn': self.image_syn,
            'log_lr': self.log_lr,
            'optimizer': self.optimizer.state_dict(),
            'rng': self.rng.state_dict(),
            'iteration': self.iteration,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        self.log_lr.copy_(state['log_lr'])
        load_optimizer(self.optimizer, state['optimizer'])
        self.rng.load_state_dict(state['rng'])
        self.iteration = state['iteration']
