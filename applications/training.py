"""One network of an architecture search, trained on a proxy or on real images, in any process."""

import multiprocessing
import os
import signal
import threading
import time
from functools import cache, partial
from typing import NamedTuple

import torch

from applications.grid import grid
from applications.sets import accuracy_of, protocol_values
from applications.subsets import check_part, statistics_of
from dataset.cutmix import CutMix
from dataset.data import Data, RealImages
from engine.training import TrainStep, evaluation_optimizer, test_accuracy, train_epoch
from evaluation.protocol import augmentation_of, batch_of, protocol, protocol_of, strategy_of
from experiment.arguments import Arguments
from experiment.data import load_data
from networks import network_for
from utils import Rng

REAL, EARLY = 'real', 'early'
HELD_OUT = 10  # one in so many training images tells how good a network is on a proxy


class Task(NamedTuple):
    """A network to train: its key in the ledger, its name and number, and the set it sees.

    kind: REAL, EARLY, or the name of a proxy; budget: epochs, or the image passes of EARLY.
    """

    key: str
    network: str
    number: int
    kind: str
    budget: int | None


def num_kept(data: Data) -> int:
    """Return how many training images are not held out."""
    return len(data.labels_train) - len(data.labels_train) // HELD_OUT


def parts_of(data: Data, num: int | None, seed: int) -> dict[str, torch.Tensor]:
    """Return the positions of the training images that are trained on (train), or held out (val).

    num: so many of those that are not held out (None: all). Raises UserError if a class has none.
    """
    order = torch.randperm(len(data.labels_train), generator=Rng('cpu', seed, 'held out').generator)
    kept = num_kept(data)
    check_part(data, order[:kept][:num])
    return {'train': order[:kept][:num], 'val': order[kept:]}


def splits(data: Data, num: int | None, seed: int) -> tuple[Data, Data]:
    """Return real images twice: to choose networks on held-out images, and with the test images.

    num: as in parts_of.
    """
    parts = parts_of(data, num, seed)

    def arrays(part, pixels, labels):
        pixels = pixels.cpu().permute(0, 2, 3, 1).numpy()
        return {f'x_{part}': pixels, f'y_{part}': labels.cpu().numpy()}

    train, val = (
        arrays(part, data.pixels(parts[own]), data.labels_train[parts[own].to(data.device)])
        for part, own in (('train', 'train'), ('test', 'val'))
    )
    test = arrays('test', data.pixels_test, data.labels_test)
    settings = data.class_names, *statistics_of(data), data.device
    return tuple(Data(data.name, train | own, *settings) for own in (val, test))


def early_accuracy(data: Data, model: str, args: Arguments, rng: Rng, passes: int) -> float:
    """Train a network on so many real images, repetitions counted; return its test accuracy.

    Learning rate and mixed images are those of the protocol, as a set is evaluated.
    """
    values = protocol_values(args, data)
    how = protocol(model, data.name, strategy_of(values), None, protocol_of(values))
    augmentation = augmentation_of(how, data.shape, rng)
    net = network_for(model, data, rng.generator)
    images, labels, idc = RealImages(data), data.labels_train, how['protocol'] == 'idc'
    mix = CutMix(data.num_classes, rng) if idc else None
    optimizer, seen = evaluation_optimizer(net, args.lr_net), 0
    # Shares of the rate, and the sixths of all images after which they end.
    for share, sixths in ((1, 4), (0.2, 5), (0.04, 6)) if idc else ((1, 3), (0.1, 6)):
        if not idc and seen:  # the momentum starts from 0
            optimizer = evaluation_optimizer(net, args.lr_net)
        optimizer.param_groups[0]['lr'] = args.lr_net * share
        step, end = TrainStep(net, optimizer, args.precision), -(-passes * sixths // 6)
        while seen < end:
            num = min(end - seen, len(labels))
            train_epoch(step, images, labels, batch_of(values), rng, augmentation, mix, num)
            seen += num
    return test_accuracy(net, data, args.precision)


class Trainer:
    """Trains networks of the grid: Trainer(args, sets)(task) -> (key, accuracy, seconds).

    sets: {name of a proxy: (images (N, C, H, W), labels)}.
    """

    def __init__(self, args: Arguments, sets: dict, data: Data | None = None):
        grid(args.grid)
        self.args, self.sets = args, sets
        data = data or load_data(args)
        self.held_out, self.real = splits(data, args.num_real, args.seed)

    def __call__(self, task: Task) -> tuple[str, float, float]:
        started, args = time.monotonic(), self.args
        # What a network sees does not decide its weights: proxies are compared in pairs.
        rng = Rng(self.real.device, args.seed, 'search', task.network, task.number)
        if task.kind == EARLY:
            accuracy = early_accuracy(self.held_out, task.network, args, rng, task.budget)
        elif task.kind == REAL:
            synset = RealImages(self.real), self.real.labels_train
            accuracy = accuracy_of(synset, self.real, args, rng, task.budget, task.network)
        else:
            synset = tuple(part.to(self.real.device) for part in self.sets[task.kind])
            accuracy = accuracy_of(synset, self.held_out, args, rng, task.budget, task.network)
        return task.key, accuracy, time.monotonic() - started


_trainer = None


def begin(args: Arguments, sets: dict, threads: int) -> None:
    """Set up a process that trains: it leaves Ctrl-C to the one that began it, and ends with it."""
    global _trainer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Made with the first network: what fails then is told to the process that asked for it.
    _trainer = cache(partial(Trainer, args, sets))


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def train(task: Task) -> tuple[str, float, float]:
    """Train one network in a process that began."""
    return _trainer()(task)
