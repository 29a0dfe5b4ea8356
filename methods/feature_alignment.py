"""CAFE, aligning features: learn images that look like real ones to every layer of a network.

Wang et al., CVPR 2022, arXiv 2203.01531. Class means of features are compared layer by layer, and
real images should be told apart by the mean features of the synthetic ones.

    python main.py --method CAFE --dataset CIFAR10 --ipc 1      # published 30.3 ± 1.1 %
    loss = Σ_taps w Σ_classes ‖mean of real − mean of synthetic‖² + 0.01 Σ_real cross-entropy
"""

from copy import copy

import torch

from dataset.augment import DSA as SiameseAugmentation
from dataset.data import Data
from engine.device import read_back
from engine.gradients import choose, largest_chunk, predict
from engine.taps import ClassTaps, check_taps
from engine.training import load_optimizer
from methods.alignment import alignment
from methods.initial import initial_images, initial_labels
from methods.inner_loop import InnerLoop, check_inner_loop
from methods.parameterisation import LearnedTiles, Tiles
from methods.passes import freeze_statistics
from methods.sampling import UniformSampler
from networks import network_for, redraw
from processes import ranks
from utils import Rng

HALVINGS = 6, 8, 9  # tenths of the run, after which the learning rate of the images is halved
WINDOW = 10  # accuracies that decide whether a loop ends
SETTLED, MOVED = 0.04, 0.03  # λ1: a network is left; λ2: its training is enough
COUNTERS = (
    'iteration', 'outer', 'epoch', 'training', 'num_real', 'inner_epochs', 'outer_accs',
    'inner_accs',
)  # fmt: skip


def learning_rate(lr_img: float, iteration: int, iterations: int) -> float:
    """Return the learning rate of the images at an iteration (from 0) of so many."""
    return lr_img * 0.5 ** sum(10 * iteration >= tenths * iterations for tenths in HALVINGS)


class FeatureAlignment(LearnedTiles):
    """CAFE. sampler: see methods/sampling.py; model, ipc, … : the flags of the same names.

    outer_loop: the most image steps of a network; inner_loop: the most epochs after each. A loop
    ends sooner by the accuracies of the network, of batch_real / 2 fresh real images per class.
    Raises UserError when all classes have too few images to start from, or a network has no taps.
    """

    DEFAULTS = {
        'Iteration': 2000, 'outer_loop': 20, 'inner_loop': 30, 'lr_img': 0.1,
        'dsa_strategy': 'None',
    }  # fmt: skip
    check = staticmethod(check_inner_loop)

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, Iteration: int, outer_loop: int,
        inner_loop: int, lr_img: float, lr_net: float, batch_real: int, batch_train: int, init: str,
        factor: int, dsa_strategy: str, precision: str, compile: bool | str, rng: Rng,
    ):  # fmt: skip
        self.data, self.sampler, self.rng = data, sampler, rng
        self.iterations, self.outer_loop, self.most_epochs = Iteration, outer_loop, inner_loop
        self.batch_real, self.uniform = batch_real, UniformSampler(data)
        self.lr_img, self.precision = lr_img, precision
        self.augmentation = SiameseAugmentation(dsa_strategy, data.shape, rng)

        # One network for all iterations: its weights are drawn again at each.
        self.net = network_for(model, data, rng.generator)
        check_taps(self.net, '--method CAFE')
        self.inner_loop = InnerLoop(
            data, self.net, self.augmentation, rng, inner_loop=1, schedule='constant',
            lr_net=lr_net, momentum_net=0.0, batch_train=batch_train, precision=precision,
            compile=compile,
        )  # fmt: skip
        self.classes = choose(predict, compile)

        # The synthetic set, class after class.
        self.tiles = Tiles(factor, data.shape, self.net)
        self.image_syn = initial_images(data, ipc, init, rng, self.tiles, self.net)
        self.label_syn = initial_labels(data, ipc)
        self.optimizer_img = torch.optim.SGD([self.image_syn], lr_img, momentum=0.5)

        # Real and synthetic images go through the same taps.
        self.taps = [
            ClassTaps(self.net, data.shape, num, precision, compile)
            for num in (batch_real, ipc * factor**2)
        ]
        self.totals = torch.zeros(1 + len(self.taps[0].sizes), device=data.device)
        self.iteration = 0
        self._start_iteration()

    def _start_iteration(self):
        # Steps of this network, epochs since the last one, whether there will be more.
        self.outer, self.epoch, self.training, self.num_real, self.inner_epochs = 0, 0, False, 0, 0
        self.outer_accs, self.inner_accs = [], []
        self.totals.zero_()

    def step(self, pause=lambda: False) -> dict | None:
        """Do one iteration: a fresh network, image steps and epochs in turn until it has settled.

        When pause() turns true between two of them, return None: state_dict() is then complete, and
        the next call continues. Otherwise return what to log. Losses are means over image steps of
        the sum over classes / K. Raises FloatingPointError if they or the images are not finite.
        """
        if self.outer == 0:
            redraw(self.net, self.rng.generator)
            self.inner_loop.begin()
            rate = learning_rate(self.lr_img, self.iteration, self.iterations)
            self.optimizer_img.param_groups[0]['lr'] = rate
        while not self._turn():
            if pause():
                self._log()
                return None
        log = self._log()
        self.iteration += 1
        self._start_iteration()
        return log

    def _turn(self) -> bool:
        """Do one epoch, if one is due, else one image step; tell whether the network is left."""
        # The network is trained until its accuracy has moved, or to the bound.
        if self.training:
            self.inner_loop.train(*self.synset, 0)
            self.epoch, self.inner_epochs = self.epoch + 1, self.inner_epochs + 1
            spread = self._spread(self.inner_accs, self.most_epochs)
            moved = spread is not None and spread > MOVED
            self.training = self.epoch < self.most_epochs and not moved
            return False

        # After an image step it is left if its accuracy has settled, or at the bound.
        self.match()
        self.outer += 1
        spread = self._spread(self.outer_accs, self.outer_loop)
        self.epoch, self.training, self.inner_accs = 0, self.most_epochs > 0, []
        return self.outer == self.outer_loop or (spread is not None and spread < SETTLED)

    def _spread(self, accuracies: list[float], most: int) -> float | None:
        """Measure the accuracy; return max - min of the last WINDOW ones, None if there are fewer.

        most: turns of the loop that it may end: with no more than WINDOW there is nothing to end.
        """
        if most > WINDOW:
            accuracies.append(self.accuracy())
        last = accuracies[-WINDOW:]
        return max(last) - min(last) if len(last) == WINDOW else None

    def match(self) -> None:
        """Take one step on the images along the gradient of the loss, all classes together."""
        classes = range(self.data.num_classes)
        self.net.train()
        freeze_statistics(self.net, self.data, self.rng)

        # Real and synthetic images of a class see the same augmentation: siamese.
        index = [self.sampler.draw(c, self.batch_real, self.rng, self.iteration) for c in classes]
        transforms = [self.augmentation.draw() for _ in classes]
        image_syn = self.image_syn.detach().requires_grad_()
        own = self.tiles.decode(image_syn).chunk(len(classes))
        seen = [transform(part) for transform, part in zip(transforms, own, strict=True)]
        counts, counts_syn = [len(part) for part in index], [len(part) for part in seen]
        self.num_real += sum(counts)

        # The means of both sides, without graph.
        of_real, of_syn = self.taps
        real, features = of_real.means(lambda c: transforms[c](self.data.images(index[c])), counts)
        syn, _ = of_syn.means(lambda c: seen[c].detach(), counts_syn)

        # The derivative of the loss for the synthetic means, then for the images.
        labels = self.data.labels_train[torch.cat(index)]
        parts, directions = alignment(real, syn, features, labels)
        self.totals += parts / len(classes)
        grads = of_syn.of_images(lambda c: seen[c].detach(), counts_syn, directions)
        (self.image_syn.grad,) = torch.autograd.grad(torch.cat(seen), image_syn, grads)
        ranks.copy_first(self.image_syn.grad)
        self.optimizer_img.step()

    @torch.no_grad()
    def accuracy(self) -> float:
        """Return the share that the network classifies correctly of fresh real images.

        They are batch_real / 2 of each class, drawn from the whole class.
        """
        num, pixels = max(1, self.batch_real // 2), self.data.shape[1] * self.data.shape[2]
        index = torch.cat(
            [self.uniform.draw(c, num, self.rng) for c in range(self.data.num_classes)]
        )
        right = torch.zeros((), dtype=torch.int64, device=self.data.device)
        self.net.eval()
        for number, part in enumerate(index.split(largest_chunk(self.net, pixels))):
            if ranks.owns(number):
                found = self.classes(self.net, self.data.images(part), self.precision)
                right += (found == self.data.labels_train[part]).sum()
        ranks.add_up(right)
        return int(right) / len(index)

    def _log(self) -> dict:
        """Return the log of the iteration so far."""
        means = self.totals / self.outer
        loss, *parts = read_back(torch.cat([means.sum()[None], means]), self.image_syn)
        log = {'loss': loss, 'loss_taps': parts[:-1], 'loss_discrimination': parts[-1]}
        log |= {'image_steps': self.outer, 'inner_epochs': self.inner_epochs}
        log['batch_real'] = self.num_real / (self.outer * self.data.num_classes)
        return log | ({'accuracy': self.outer_accs[-1]} if self.outer_accs else {})

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue here, also between inner epochs."""
        return {name: copy(getattr(self, name)) for name in COUNTERS} | {
            'image_syn': self.image_syn,
            'optimizer_img': self.optimizer_img.state_dict(),
            'rng': self.rng.state_dict(),
            'totals': self.totals,
            'inner_loop': self.inner_loop.state_dict() if self.outer else None,
        }

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        self.image_syn.copy_(state['image_syn'])
        load_optimizer(self.optimizer_img, state['optimizer_img'], scheduled=True)
        self.rng.load_state_dict(state['rng'])
        for name in COUNTERS:
            setattr(self, name, copy(state[name]))
        self.totals.copy_(state['totals'])
        if state['inner_loop'] is not None:
            self.inner_loop.load_state_dict(state['inner_loop'])
