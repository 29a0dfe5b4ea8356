"""The inner loop: how the network of an iteration is trained between matching steps.

constant  inner_loop epochs after each step (DC)
adaptive  fewer and fewer, whatever inner_loop is (arXiv 2208.00311, adaptive step)
overfit   until the loss on a fixed batch of real images rises, at most inner_loop epochs (the same)

IDC trains on real images instead: RealTraining.
"""

import torch

from dataset.composed import Composed
from dataset.cutmix import CutMix
from dataset.data import Data, RealImages
from engine.gradients import loss
from engine.training import TrainStep, evaluation_optimizer, forget, load_optimizer, train_epoch
from engine.trial import check_network, last_batch
from experiment.arguments import Arguments, num_images
from processes import ranks
from utils import Rng

SCHEDULES = ('constant', 'adaptive', 'overfit')
PROBE = 256  # real images of all classes that show whether a network overfits


def epochs_after(step: int, inner_loop: int, schedule: str) -> int:
    """Return the most epochs after matching step number `step` of a network, from 0."""
    if schedule != 'adaptive':
        return inner_loop
    if step < 4:
        return 50 - 10 * step
    return 10 if step < 10 else 5


def check_inner_loop(data: Data, args: Arguments) -> None:
    """Raise UserError if the network of a method cannot see a batch that will occur."""
    # Batch norm takes its statistics of real images of all classes, and in the inner loop.
    smallest = len(data.labels_train)
    schedule = vars(args).get('schedule', 'constant')
    if args.outer_loop > 1 and epochs_after(0, args.inner_loop, schedule):
        num = data.num_classes * num_images(vars(args))
        smallest = min(smallest, last_batch(num, args.batch_train))
    check_network(args.model, data, smallest, f'--method {args.method}')


class Training:
    """What every training of the network of an iteration keeps: .net and .optimizer."""

    def begin(self) -> None:
        """Forget the momentum of the network before: its weights were drawn again."""
        forget(self.optimizer)

    def state_dict(self) -> dict:
        """Return weights and momentum."""
        return {'net': self.net.state_dict(), 'optimizer': self.optimizer.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict()."""
        self.net.load_state_dict(state['net'])
        load_optimizer(self.optimizer, state['optimizer'])


class InnerLoop(Training):
    """Trains net on synthetic images. Its arguments are the flags of the same names."""

    def __init__(
        self, data: Data, net, augmentation, rng: Rng, *, inner_loop: int, schedule: str,
        lr_net: float, momentum_net: float, batch_train: int, precision: str, compile: bool | str,
    ):  # fmt: skip
        self.data, self.net, self.augmentation, self.rng = data, net, augmentation, rng
        self.epochs, self.schedule = inner_loop, schedule
        self.batch_train, self.precision = batch_train, precision
        self.optimizer = torch.optim.SGD(net.parameters(), lr_net, momentum_net)
        self.step = TrainStep(net, self.optimizer, precision, compile)
        if schedule == 'overfit':
            # A stream of its own: the schedule must not change which images a run starts from.
            generator, num = Rng(data.device, 'probe').generator, len(data.labels_train)
            self.probe = torch.randperm(num, generator=generator, device=data.device)[:PROBE]

    def train(self, images: torch.Tensor, labels: torch.Tensor, step: int) -> int:
        """Train on images (N, C, H, W) after matching step number `step`; return the epochs."""
        if self.schedule == 'overfit':
            return self._train_until_it_overfits(images, labels)
        epochs = epochs_after(step, self.epochs, self.schedule)
        for _ in range(epochs):
            self._epoch(images, labels)
        return epochs

    def _epoch(self, images, labels):
        train_epoch(self.step, images, labels, self.batch_train, self.rng, self.augmentation)

    def _train_until_it_overfits(self, images, labels):
        best = self._probe_loss()
        for epoch in range(self.epochs):
            self._epoch(images, labels)
            now = self._probe_loss()  # waits for the device
            if ranks.from_first(now > best):
                return epoch + 1
            best = now
        return self.epochs

    @torch.no_grad()
    def _probe_loss(self):
        # In one mode, which leaves the statistics of batch norm alone; an epoch sets it back.
        self.net.eval()
        images, labels = self.data.images(self.probe), self.data.labels_train[self.probe]
        return float(loss(self.net, images, labels, None, self.precision))


def images_in_batches(n_data: int, batch_train: int, data: Data) -> int:
    """Return n_data in whole batches, at most all images."""
    return min(-(-n_data // batch_train) * batch_train, len(data.labels_train))


class RealTraining(Training):
    """Trains net on real images: n_data of them in whole batches, augmented, half of them mixed.

    Every image has its own colours and crop. Its arguments are the flags of the same names.
    """

    OPERATIONS = 'color_crop'

    def __init__(
        self, data: Data, net, rng: Rng, *, n_data: int, lr_net: float, batch_train: int,
        precision: str, compile: bool | str,
    ):  # fmt: skip
        self.data, self.net, self.rng, self.batch_train = data, net, rng, batch_train
        self.num = images_in_batches(n_data, batch_train, data)
        self.optimizer = evaluation_optimizer(net, lr_net)
        self.step = TrainStep(net, self.optimizer, precision, compile)
        self.augmentation = Composed(self.OPERATIONS, data.shape, rng)
        self.mix = CutMix(data.num_classes, rng)

    def train(self) -> int:
        """Train on real images, chosen at random; return how many."""
        images, labels = RealImages(self.data), self.data.labels_train
        settings = self.batch_train, self.rng, self.augmentation, self.mix, self.num
        train_epoch(self.step, images, labels, *settings)
        return self.num
