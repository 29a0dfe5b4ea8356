"""Gradient matching: learn images with the training gradient of real images, class by class.

DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv 2006.05929) matches over random networks. DSA (Zhao &
Bilen, ICML 2021, arXiv 2102.08259) does so through one differentiable augmentation of both batches.

    python main.py --method DC --dataset CIFAR10 --ipc 10       # published 44.9 ± 0.5 %
    python main.py --method DSA --dataset CIFAR10 --ipc 10      # published 52.1 ± 0.5 %
"""

import torch

import methods.levels as levels
from dataset.augment import DSA as SiameseAugmentation
from dataset.data import Data
from engine.training import load_optimizer
from experiment.flags import published_strategy
from methods.distance import Derivative, check_distance, reduced_distance
from methods.initial import initial_images, initial_labels
from methods.inner_loop import InnerLoop, check_inner_loop
from methods.parameterisation import Tiles
from methods.passes import Passes, freeze_statistics
from methods.presets import AUTO_LOOPS, DEFAULTS
from methods.representative import load_state, look, state_of
from methods.step_log import StepLog
from networks import network_for, redraw
from processes import ranks
from utils import Rng


class GradientMatching:
    """DC, shaped like an optimizer: .synset, .step(), .state_dict(), .load_state_dict().

    sampler: see methods/sampling.py; model, ipc, … : the flags of the same names; rng: the source
    of every draw. Raises UserError for too few images to start from, or tiles that do not fit.
    """

    DEFAULTS, AUTO = DEFAULTS, AUTO_LOOPS
    COUNTERS = 'iteration', 'outer', 'num_real', 'inner_epochs'
    TRAINED = 'inner_epochs'  # what the log calls the last of them
    SHOWS_NETWORK = True  # to a draw that follows it
    check, total_matters = staticmethod(check_inner_loop), staticmethod(levels.total_matters)

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, Iteration: int, outer_loop: int,
        inner_loop: int, schedule: str, lr_img: float, lr_net: float, momentum_net: float,
        batch_real: int, batch_train: int, init: str, factor: int, dis_metric: str, reduce: str,
        mask_quantile: float | None, level: str, precision: str, compile: bool | str,
        rng: Rng, dsa_strategy: str = 'None',
    ):  # fmt: skip
        # What is compared, of which images.
        self.data, self.sampler, self.rng = data, sampler, rng
        self.iterations, self.outer_loop, self.level = Iteration, outer_loop, level
        self.batch_real, self.ipc, self.precision = batch_real, ipc, precision
        distance = reduced_distance(dis_metric, reduce, mask_quantile)
        self.derivative = Derivative(distance, compile, data.device)
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)

        # One network for all iterations: its weights are drawn again at each.
        self.net = network_for(model, data, rng.generator)
        check_distance(dis_metric, self.net, model)
        self.inner_loop = InnerLoop(
            data, self.net, self.augmentation, rng, inner_loop=inner_loop, schedule=schedule,
            lr_net=lr_net, momentum_net=momentum_net, batch_train=batch_train, precision=precision,
            compile=compile,
        )  # fmt: skip

        # The synthetic set, class after class.
        self.tiles = Tiles(factor, data.shape, self.net)
        self.image_syn = initial_images(data, ipc, init, rng, self.tiles, self.net)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)

        # A matching step goes over one class at a time, or over all together.
        settings = batch_real, ipc * factor**2, precision, compile
        self.passes = {num: Passes(self.net, data, num, *settings) for num in (1, data.num_classes)}
        self.log = StepLog(self.net, data.num_classes, data.device)
        self.iteration = 0
        self._start_iteration()

    @property
    def synset(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (K * I f², C, H, W), class after class, and labels."""
        return self.decoded(self.image_syn.detach(), self.label_syn)

    def decoded(self, image_syn, labels):
        """Return what networks see of stored images (N, C, H, W), and the labels of it."""
        return self.tiles.decode(image_syn), self.tiles.labels(labels)

    @property
    def stored(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the images are decoded from (K * I, C, H, W), and labels (K * I,)."""
        return self.image_syn.detach(), self.label_syn

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration: a fresh network, then outer_loop times match all classes and train it.

        When pause() turns true between two outer steps, return None: state_dict() is then complete,
        and the next call continues. Else return what to log. `loss`, `grad_norm_real` and
        `grad_norm_syn` are means over passes and outer steps, the norms L2 of each weight's
        gradient, by name. A pass is of a class, or of all. `batch_real` is the mean number of real
        images a class and step. Raises FloatingPointError if loss or images are not finite.
        """
        if self.outer == 0:
            redraw(self.net, self.rng.generator)
            self.inner_loop.begin()
        while self.outer < self.outer_loop:
            self.match()
            self.outer += 1
            # No training after the last match: nothing would use the trained network.
            if self.outer < self.outer_loop:
                self.train_network()
                if pause():
                    self._read_back()
                    return None
        # What the iteration was like, then the next one.
        log = self._read_back()
        self.iteration += 1
        self._start_iteration()
        return log

    def _start_iteration(self):
        self.outer, self.num_real, self.inner_epochs = 0, 0, 0
        self.log.totals.zero_()

    def prepare(self):
        """Let the network see real images before a step, and a draw that follows it the network."""
        freeze_statistics(self.net, self.data, self.rng)
        # Before any class draws: a draw that follows the network is of all of them.
        look(self.sampler, self.net, self.outer, self.rng, self.precision)

    def match(self):
        """Take one step on the images along the gradient of the distance, summed over classes."""
        num_classes, classes = self.data.num_classes, range(self.data.num_classes)
        level = levels.level_of_step(self.level, self.iteration, self.iterations, self.outer)
        self.prepare()
        self.image_syn.grad = torch.zeros_like(self.image_syn)

        # All classes in one pass: the gradient of their mean is the mean of their gradients.
        if level == 'inter':
            gradients = self._gradients(range(num_classes), [self._draw(c) for c in classes])
            pair = gradients.grads_syn, gradients.grads_real
            direction = self._compare(*pair, weight=num_classes)  # logged alike whatever it weighs
            weight = levels.weight_of(self.level, num_classes)
            self._pull(gradients, torch._foreach_mul(direction, weight))

        # Alone, a class moves its images at once and is forgotten: memory stays flat.
        elif level == 'intra':
            for c in classes:
                self.match_alone(c)

        # Else what moves a class depends on the gradients of all of them.
        else:
            draws = [self._draw(c) for c in classes]
            own = {c: self._gradients([c], [draws[c]]) for c in classes if ranks.owns(c)}
            pairs = self.passes[1].of_all(own, num_classes)
            directions = levels.DIRECTIONS[level](pairs, self._compare)
            for c, gradients in own.items():
                self._pull(gradients, directions[c])

        # One step for the images of all classes, whoever computed them.
        bring_together = ranks.copy_first if level == 'inter' else ranks.add_up
        bring_together(self.image_syn.grad)
        self.log.end_step()
        self.optimizer_img.step()

    def match_alone(self, c):
        """Write the gradient of the images of class c, if this rank owns it."""
        draw = self._draw(c)  # every rank draws for every class
        if ranks.owns(c):
            gradients = self._gradients([c], [draw])
            pair = gradients.grads_syn, gradients.grads_real
            self._pull(gradients, self._compare(*pair, row=c))

    def _draw(self, c):
        """Return positions of real images, and an augmentation for both batches: siamese."""
        index = self.sampler.draw(c, self.batch_real, self.rng, self.iteration)
        self.num_real += len(index)
        return index, self.augmentation.draw()

    def _gradients(self, classes, draws):
        """Return the PassGradients of these classes, which count alike, and log their norms."""
        rows = slice(classes[0] * self.ipc, (classes[-1] + 1) * self.ipc)
        image_syn = self.image_syn[rows].detach().requires_grad_()
        images, labels = self.decoded(image_syn, self.label_syn[rows])
        gradients = self.passes[len(classes)].of_both(rows, image_syn, images, labels, draws)

        # Every rank makes a pass over all classes: one of them logs it.
        if len(classes) == 1 or ranks.leads():
            row = classes[0] if len(classes) == 1 else -1
            self.log.add_norms(row, gradients.grads_real, gradients.grads_syn, len(classes))
        return gradients

    def _compare(self, grads_syn, grads_real, weight=1, row=None):
        """Return the distance's derivative for the synthetic gradient; log weight x distance.

        row: the class that this rank alone compares (None: every rank compares the same).
        """
        distance, direction = self.derivative(grads_syn, grads_real)
        if row is not None or ranks.leads():
            self.log.add_distance(-1 if row is None else row, weight * distance)
        return direction

    def _pull(self, gradients, direction):
        """Write the gradient of a pass's stored images, whose gradient should follow direction."""
        # In place: what other classes and other ranks write stays.
        self.image_syn.grad[gradients.rows] = gradients.passes.to_images(gradients, direction)

    def train_network(self):
        """Train the network on the synthetic images, as the schedule says."""
        # Decoded once: the images stay as they are meanwhile.
        self.inner_epochs += self.inner_loop.train(*self.synset, max(0, self.outer - 1))

    def _read_back(self):
        """Return the log of the iteration so far: the only time that it waits for the device."""
        steps = self.data.num_classes * self.outer
        log = self.log.read(steps, self.image_syn)
        return log | {'batch_real': self.num_real / steps, self.TRAINED: self.inner_epochs}

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue here, also between outer steps."""
        return (
            {name: getattr(self, name) for name in self.COUNTERS}
            | {
                'image_syn': self.image_syn,
                'optimizer_img': self.optimizer_img.state_dict(),
                'rng': self.rng.state_dict(),
                'totals': self.log.totals,
                'inner_loop': self.inner_loop.state_dict() if self.outer else None,
            }
            | state_of(self.sampler)
        )

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        load_optimizer(self.optimizer_img, state['optimizer_img'])
        self.rng.load_state_dict(state['rng'])
        for name in self.COUNTERS:
            setattr(self, name, state[name])
        self.log.totals.copy_(state['totals'])
        load_state(self.sampler, state)
        if state['inner_loop'] is not None:
            self.inner_loop.load_state_dict(state['inner_loop'])


class SiameseGradientMatching(GradientMatching):
    """DSA: one differentiable augmentation for both batches, started from real images."""

    DEFAULTS = GradientMatching.DEFAULTS | {'init': 'real', 'dsa_strategy': published_strategy}
