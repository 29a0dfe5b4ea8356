"""IDM, improved distribution matching: DM in tiles, over networks that learn from real images.

Zhao et al., CVPR 2023, arXiv 2307.09742. A queue holds networks of different age. One of them is
matched at each iteration, and should also tell the synthetic images apart, the more so the better
it is.

    python main.py --method IDM --dataset CIFAR10 --ipc 10
    loss = Σ_classes ‖mean embedding of real − mean of synthetic images‖²
           + ce_weight x accuracy in % x Σ_classes mean cross-entropy of synthetic images
"""

from collections import deque

import torch

from dataset.data import Data, RealImages
from engine.gradients import choose, predict
from engine.training import TrainStep, evaluation_optimizer, forget, train_epoch
from engine.trial import check_network, last_batch
from experiment.arguments import Arguments
from methods.distribution_matching import DistributionMatching
from methods.inner_loop import images_in_batches
from methods.presets import usual_init
from networks import redraw
from storage.kinds import fault, numeric
from utils import Rng

FIRST = 3  # fresh networks that the queue begins with
LEARNERS = 2  # networks that learn after a step


def usual_ce_weight(flags: dict) -> float:
    """0.5, from 50 images per class on 0.1"""
    return 0.1 if flags['ipc'] >= 50 else 0.5


def training_batches(n_data: int, batch_train: int, data: Data) -> tuple[int, int]:
    """Return the size of a batch that a network learns from, and the images of all batches."""
    size = min(n_data, batch_train, len(data.labels_train))
    return size, images_in_batches(n_data, size, data)


class NetworkQueue:
    """Networks of different age, as weights of one network, which learn from plain real images.

    Arguments are the flags of the same names. .accuracy: of the network that is in .net, on the
    batch of real images after its last training; 0 before the first.
    """

    def __init__(
        self, data: Data, net, rng: Rng, *, num_nets: int, net_every: int, n_data: int,
        lr_net: float, batch_train: int, precision: str, compile: bool | str,
    ):  # fmt: skip
        self.data, self.net, self.rng, self.precision = data, net, rng, precision
        self.every = net_every
        self.batch_train, self.num = training_batches(n_data, batch_train, data)
        self.accuracy = torch.zeros((), device=data.device)
        # A recorded step keeps to its tensors, so networks change in place: momentum, too.
        optimizer = evaluation_optimizer(net, lr_net)
        for param in net.parameters():
            optimizer.state[param]['momentum_buffer'] = torch.zeros_like(param)
        self.train_step = TrainStep(net, optimizer, precision, compile)
        self.classes = choose(predict, compile)
        self.queue = deque(maxlen=num_nets)  # the oldest leaves a full one
        for _ in range(FIRST):
            self._join()

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Return what is a network: weights, statistics of batch norm, momentum, accuracy."""
        state = self.train_step.optimizer.state
        momentum = {
            f'momentum.{name}': state[param]['momentum_buffer']
            for name, param in self.net.named_parameters()
        }
        return self.net.state_dict() | momentum | {'accuracy': self.accuracy}

    def _join(self) -> None:
        """Let a fresh network join the queue."""
        redraw(self.net, self.rng.generator)
        forget(self.train_step.optimizer)
        self.accuracy.zero_()
        self.queue.append({name: tensor.clone() for name, tensor in self._tensors().items()})

    def _load(self, number: int) -> None:
        """Put a network of the queue into .net."""
        for name, tensor in self._tensors().items():
            tensor.copy_(self.queue[number][name])

    def _chosen(self, num: int) -> list[int]:
        """Return the places of so many networks of the queue, at random."""
        order = torch.randperm(len(self.queue), generator=self.rng.host_generator)
        return order[:num].tolist()

    def next(self, iteration: int) -> None:
        """Put a network into .net, any of the queue, which a fresh one joins now and then."""
        if iteration % self.every == 0:
            self._join()
        self._load(*self._chosen(1))
        self.net.eval()

    def train(self) -> int:
        """Train some networks of the queue, on images chosen at random; return how many images."""
        images, labels = RealImages(self.data), self.data.labels_train
        chosen = self._chosen(LEARNERS)
        for number in chosen:
            self._load(number)
            train_epoch(self.train_step, images, labels, self.batch_train, self.rng, num=self.num)
            self._measure()
            for name, tensor in self._tensors().items():
                self.queue[number][name].copy_(tensor)
        return self.num * len(chosen)

    @torch.no_grad()
    def _measure(self) -> None:
        """Measure the accuracy of .net on a batch of real images."""
        num, device = len(self.data.labels_train), self.data.device
        index = torch.randint(num, (self.batch_train,), generator=self.rng.generator, device=device)
        self.net.eval()
        found = self.classes(self.net, self.data.images(index), self.precision)
        self.accuracy.copy_((found == self.data.labels_train[index]).float().mean())

    def state_dict(self) -> dict:
        """Return all networks."""
        return {'queue': list(self.queue)}

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict(); raise ValueError unless these are such networks."""
        known = self._tensors()
        if not state['queue'] or fault(state['queue'], [{name: numeric for name in known}]):
            raise ValueError('no networks, or others')
        self.queue.clear()
        for network in state['queue']:
            if any(network[name].shape != tensor.shape for name, tensor in known.items()):
                raise ValueError('a network of other shapes')
            self.queue.append({name: network[name].to(known[name], copy=True) for name in known})


class ImprovedDistributionMatching(DistributionMatching):
    """IDM. num_nets: networks in the queue; net_every: iterations until a fresh one joins it.

    n_data: real images that each of two networks learns from after a step, in whole batches of
    batch_train, or in a smaller one; ce_weight: of the cross-entropy. Others as in
    DistributionMatching.
    """

    DEFAULTS = {
        'Iteration': 20000, 'eval_every': 2000, 'lr_img': 0.2, 'factor': 2, 'init': usual_init,
        'n_data': 2560, 'ce_weight': usual_ce_weight,
    }  # fmt: skip

    def __init__(
        self, data: Data, sampler, *, model: str, ipc: int, lr_img: float, lr_net: float,
        batch_real: int, batch_train: int, n_data: int, num_nets: int, net_every: int,
        ce_weight: float, init: str, factor: int, dsa_strategy: str, precision: str,
        compile: bool | str, rng: Rng,
    ):  # fmt: skip
        super().__init__(
            data, sampler, model=model, ipc=ipc, lr_img=lr_img, batch_real=batch_real, init=init,
            factor=factor, dsa_strategy=dsa_strategy, precision=precision, compile=compile, rng=rng,
        )  # fmt: skip
        self.ce_weight = ce_weight
        self.networks = NetworkQueue(
            data, self.net, rng, num_nets=num_nets, net_every=net_every, n_data=n_data,
            lr_net=lr_net, batch_train=batch_train, precision=precision, compile=compile,
        )  # fmt: skip

    @staticmethod
    def check(data: Data, args: Arguments) -> None:
        """Raise UserError if the network cannot see a batch of real images that will occur."""
        DistributionMatching.check(data, args)
        batch, num = training_batches(args.n_data, args.batch_train, data)
        smallest = last_batch(num, batch)
        check_network(args.model, data, smallest, f'--method {args.method}')

    def next_network(self) -> None:
        """Make self.net the network of this iteration: one of the queue."""
        self.networks.next(self.iteration)

    def gradient(self, images, directions, labels) -> torch.Tensor:
        """Return the gradient for images (N, C, H, W), with that of the cross-entropy."""
        per_class = len(images) / self.data.num_classes
        weight = self.ce_weight * 100 * self.networks.accuracy / per_class
        return self.embeddings.of_images_told_apart(
            images, directions, labels, weight.expand(len(images))
        )

    def step(self, pause=lambda: False) -> dict:
        """Do one iteration: a step on the images, then some networks learn from real images.

        Return what to log: what DM does, whose `loss` is of the embeddings alone, and
        `inner_images` that networks learned from. Raises FloatingPointError as DM does.
        """
        log = super().step(pause)
        return log | {'inner_images': self.networks.train()}

    def state_dict(self) -> dict:
        """Return all that a later process needs to continue exactly here."""
        return super().state_dict() | {'networks': self.networks.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Continue from state_dict() of an instance with the same arguments."""
        super().load_state_dict(state)
        self.networks.load_state_dict(state['networks'])
