"""BPTT: learn images through the first steps of the very training that evaluates them.

A fresh network takes T steps on the set, by the optimiser of the evaluation; then the loss of real
images is differentiated back through these steps. This is DD (Wang et al. 2018, arXiv 1811.10959)
with momentum (Deng and Russakovsky, NeurIPS 2022, arXiv 2206.02916), without learned step sizes.
Feng et al. (ICLR 2024, arXiv 2311.07025) show how far it goes, with many more steps.

    python main.py --method BPTT --recipe fast
    python main.py --method BPTT --factor 2
"""

import torch

from dataset.data import Data
from engine.device import read_back
from engine.gradients import Gradients
from engine.trial import check_network, last_batch
from experiment.arguments import Arguments, num_images
from methods.initial import initial_images, initial_labels
from methods.parameterisation import LearnedTiles, Tiles
from methods.unrolling import Unrolled
from networks import has_batchnorm, network_for, redraw
from processes import ranks
from utils import Rng, UserError


class BPTT(LearnedTiles):
    """BPTT. sampler: see methods/sampling.py; model, ipc, … : the flags of the same names.

    inner_loop: epochs on the set, in batches of batch_train, by SGD with lr_net and momentum_net.
    lr_img: of Adam. Raises UserError for a network with batch norm.
    """

    DEFAULTS = {
        'inner_loop': 10,
        'lr_img': 0.03,
        'momentum_net': 0.9,
        'batch_real': 32,
        'init': 'centres',
    }

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, inner_loop: int, lr_img: float,
        lr_net: float, momentum_net: float, batch_real: int, batch_train: int, init: str,
        factor: int, precision: str, compile: bool | str, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng, self.batch_real = data, sampler, rng, batch_real
        self.epochs, self.batch_train, self.lr_net = inner_loop, batch_train, lr_net
        self.precision = precision
        self.net = network_for(model, data, rng.generator)
        if has_batchnorm(self.net):
            raise UserError(f'--method BPTT cannot train {model}: use a network without batch norm')
        pixels = data.shape[1] * data.shape[2]
        self.tiles = Tiles(factor, data.shape, self.net)
        self.image_syn = initial_images(data, ipc, init, rng, self.tiles, self.net)
        self.label_syn = initial_labels(data, ipc)
        num = min(len(self.image_syn) * factor**2, batch_train)
        self.unrolled = Unrolled(self.net, num, pixels, momentum_net, precision, compile)
        self.gradients = Gradients(self.net, batch_real * data.num_classes, pixels, compile)
        self.optimizer_img = torch.optim.Adam([self.image_syn], lr_img)
        self.iteration = 0

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if the network cannot see the batches of the set."""
        if args.inner_loop < 1:
            raise UserError('--inner_loop 0: --method BPTT learns through one epoch or more')
        num = data.num_classes * num_images(vars(args))
        check_network(args.model, data, last_batch(num, args.batch_train), '--method BPTT')

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a fresh network, its epochs, the loss on real images, and back.

        Return what to log: `loss` (mean cross-entropy of the real batch after the epochs) and
        `batch_real`. Raises FloatingPointError if the images are not finite.
        """
        redraw(self.net, self.rng.generator)
        draws = [
            self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
            for c in range(self.data.num_classes)
        ]
        loss, self.image_syn.grad = self.differentiate(torch.cat(draws))
        ranks.copy_first(loss, self.image_syn.grad)
        self.optimizer_img.step()
        self.iteration += 1
        (loss,) = read_back(loss[None], self.image_syn)
        return {'loss': loss, 'batch_real': sum(map(len, draws)) / len(draws)}

    def differentiate(self, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of the real images at index after the epochs, and its derivative.

        It is for the stored images. The first step starts from the weights of the network.
        """
        stored = self.image_syn.detach().requires_grad_()
        images, labels = self.tiles.decode(stored), self.tiles.labels(self.label_syn)
        batches = []
        for _ in range(self.epochs):
            order = torch.randperm(len(images), generator=self.rng.generator, device=images.device)
            batches += order.split(self.batch_train)
        classes = self.data.labels_train[index]
        # Every class counts alike, however many images it has.
        counts = classes.bincount().to(images.dtype)
        weights = 1 / (counts.count_nonzero() * counts[classes])
        real = self.data.images(index), classes, self.precision, weights
        loss, of_images, _ = self.unrolled.differentiate(
            images.detach(), labels, batches, images.new_full((len(batches),), self.lr_net),
            lambda: self.gradients.of_weights(*real),
        )  # fmt: skip
        return loss, *torch.autograd.grad(images, stored, of_images)
