"""Tasks in turn: one network learns data sets of the same classes, one after the other.

As in DC's study (SVHN, MNIST, USPS): the network goes on from the last task. It sees all real
images of a task, and with every batch as many of the memory of the tasks before. Distillation adds
T² KL(previous network || network) on both, at T = 2 and weight 1 (Hinton et al., 2015).
It is tested on every task seen; an accuracy is the mean over them. Images are grey, of the side of
the first task and in its normalisation.
"""

import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from applications.curves import BOUND, DISTILLED, NONE
from applications.ledger import Ledger
from applications.sets import (
    check_runs,
    check_sizes,
    check_taken,
    check_twice,
    joined,
    made_set,
    run_of,
    settings_of,
    study_name,
    title,
)
from applications.subsets import add_row, check_part, statistics_of
from dataset.data import Data, load_dataset
from dataset.names import name_of, shortened
from engine.device import autocast, set_up_device
from engine.training import evaluation_optimizer, load_weights, test_accuracy
from evaluation.protocol import check_pool
from experiment.arguments import Arguments
from networks import network_for
from storage.files import MOST, load_tensors, save_tensors
from utils import Rng, UserError

EPOCHS = 5
TEMPERATURE = 2.0
GREY = 0.299, 0.587, 0.114  # luminance of red, green and blue (ITU-R BT.601)


def grey_arrays(data: Data, num: int | None, seed: int) -> dict[str, np.ndarray]:
    """Return grey images in Keras layout; num: so many random ones to train on (None: all)."""
    arrays = {}
    for split in ('train', 'test'):
        pixels = getattr(data, f'pixels_{split}').cpu()
        if pixels.shape[1] == 3:
            weights = torch.tensor(GREY).view(1, 3, 1, 1)
            pixels = (pixels * weights).sum(1, keepdim=True).round().byte()
        arrays[f'x_{split}'] = pixels[:, 0].numpy()
        arrays[f'y_{split}'] = getattr(data, f'labels_{split}').cpu().numpy()
    if num and num < len(arrays['y_train']):
        rng = Rng('cpu', seed, 'real images', data.name)
        index = torch.randperm(len(arrays['y_train']), generator=rng.generator)[:num]
        check_part(data, index)
        arrays |= {key: arrays[key][index.numpy()] for key in ('x_train', 'y_train')}
    return arrays


def load_tasks(args: Arguments) -> list[Data]:
    """Load the data sets alike; raise UserError unless they are at least two of the same classes.

    Each is a known data set of the name <task>-as-<first task>-<side>, for the runs of main.py.
    """
    if len(args.tasks) < 2:
        raise UserError(f'--tasks {args.tasks[0]}: learning in turn needs two tasks or more')
    device, side, tasks = set_up_device(args.device, args.precision), args.im_size, []
    for task in args.tasks:
        data = load_dataset(task, args.data_path, side, device, args.resize)
        if not side and data.shape[1] != data.shape[2]:
            raise UserError(f'--tasks: images of {data.name} are not square; pass --im_size')
        side = side or data.shape[1]
        arrays = grey_arrays(data, args.num_real, args.seed)
        first = tasks[0] if tasks else Data(data.name, arrays, device=device)
        if data.num_classes != first.num_classes:
            raise UserError(
                f'--tasks: {data.name} has {data.num_classes} classes, {first.name} has '
                f'{first.num_classes}; tasks share their classes'
            )
        part = f'-{args.num_real}-seed{args.seed}' if args.num_real else ''
        name = f'{data.name}-as-{name_of(args.tasks[0])}-{side}{part}'
        add_row(name, first, lambda arrays=arrays: dict(arrays), first.class_names, like=data)
        tasks.append(Data(name, arrays, first.class_names, *statistics_of(first), device))
    if len({data.name for data in tasks}) < len(tasks):
        raise UserError('--tasks: a data set is there twice; leave one out')
    return tasks


def distillation(logits: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """Return T² KL(before || logits) of softened outputs, the mean over a batch (N, K)."""
    soft = F.log_softmax(logits / TEMPERATURE, 1)
    target = F.log_softmax(before / TEMPERATURE, 1)
    return TEMPERATURE**2 * F.kl_div(soft, target, reduction='batchmean', log_target=True)


def learn_task(net, previous, data: Data, memory, args: Arguments, rng: Rng) -> None:
    """Train net on the real images of a task, and as many of the memory in every batch.

    previous: the network to distil from, or None; memory: images (N, C, H, W) and labels (N,), or
    None at the first task.
    """
    optimizer, generator = evaluation_optimizer(net, args.lr_net), rng.generator
    num = len(data.labels_train)
    for _ in range(args.epochs_real or EPOCHS):
        order = torch.randperm(num, generator=generator, device=data.device)
        for index in order.split(args.batch_train):
            images, labels = data.images(index), data.labels_train[index]
            if memory:
                own = torch.randint(
                    len(memory[1]), (len(index),), generator=generator, device=data.device
                )
                images = torch.cat([images, memory[0][own]])
                labels = torch.cat([labels, memory[1][own]])
            net.train()
            optimizer.zero_grad()
            with autocast(images.device, args.precision):
                logits = net(images).float()
            loss = F.cross_entropy(logits, labels)
            if previous:
                with torch.no_grad(), autocast(images.device, args.precision):
                    before = previous(images).float()
                loss = loss + distillation(logits, before)
            loss.backward()
            optimizer.step()


class Chain:
    """The networks of one repetition and memory, a task each: every one begins as the last ended.

    Their weights are kept beside the ledger, so that a chain goes on where it was stopped.
    """

    def __init__(self, args, tasks: list[Data], ledger: Ledger, order: int, memory: str, runs):
        self.args, self.tasks, self.ledger, self.order = args, tasks, ledger, order
        self.memory, self.runs = memory, runs
        self.name = title(memory, runs[0]) if runs else memory

    def key(self, task: int, distilled: bool) -> str:
        """Return the key of a network; the first one knows neither memory nor distillation."""
        row = f'{self.name}{DISTILLED if distilled else ""}' if task else 'no memory'
        return f'{row}, repetition {self.order}, task {task}'

    def path(self, task: int, distilled: bool) -> Path:
        """Return the file of a network's weights."""
        key = self.key(task, distilled).replace('/', '-').replace(' ', '_')
        return self.ledger.folder / f'{shortened(key, MOST - len(".pt"))}.pt'

    def before(self, task: int):
        """Return the memory of the tasks before, None if there is none."""
        if self.memory == NONE:
            return None
        if self.memory == BOUND:
            past = self.tasks[:task]
            sets = [(data.images(torch.arange(len(data.labels_train))), data.labels_train)
                    for data in past]  # fmt: skip
        else:
            past = zip(self.runs[:task], self.tasks, strict=False)
            sets = [made_set(run, data) for run, data in past]
        return joined(sets) if sets else None

    def network(self, task: int, distilled: bool):
        """Return the network after a task, from its file."""
        data, path = self.tasks[task], self.path(task, distilled)
        net = network_for(self.args.model, data)
        try:
            load_weights(net, load_tensors(path, 'trained network'))
        except ValueError as error:
            raise UserError(f'{path} holds no weights of {self.args.model}') from error
        return net.to(data.device)

    def train(self, task: int, distilled: bool) -> None:
        """Train the network of a task, unless the ledger has it."""
        key, data = self.key(task, distilled), self.tasks[task]
        if key in self.ledger:
            return
        memory, started = self.before(task), time.monotonic()
        rng = Rng(data.device, self.args.seed, 'tasks', self.order, task)
        previous = self.network(task - 1, distilled).eval() if distilled and task else None
        if task:
            net = self.network(task - 1, distilled)
        else:
            net = network_for(self.args.model, data, rng.generator)
        learn_task(net, previous, data, memory, self.args, rng)
        accuracies = [
            test_accuracy(net, old, self.args.precision) for old in self.tasks[: task + 1]
        ]
        # The weights first: what is in the ledger is never trained again.
        save_tensors(self.path(task, distilled), net.state_dict())
        self.ledger.add(key, accuracies, time.monotonic() - started)
        print(f'{key}: {", ".join(f"{100 * value:.1f}" for value in accuracies)} %', flush=True)


def study(args: Arguments) -> tuple[dict[str, np.ndarray], Ledger]:
    """Train what is missing; return {row: accuracies (repetitions, tasks)}, and its ledger.

    An accuracy is the mean over the tasks seen.

    Raises UserError for a user's mistake, before anything is trained.
    """
    tasks = load_tasks(args)
    runs = {
        (order, memory): [run_of(args, memory, data.name, args.seed + order) for data in tasks[:-1]]
        for order in range(args.orders)
        for memory in args.memories
        if memory not in (BOUND, NONE)
    }
    everything = [run for parts in runs.values() for run in parts]
    check_taken(args, '--memories', everything)
    check_twice('--memories', {name: title(name, parts[0]) for (_, name), parts in runs.items()})
    for data in tasks:
        check_pool((args.model,), data, len(data.labels_train), args.batch_train)
    for data in tasks[:-1]:
        check_sizes(args, data, everything)
    check_runs(tasks[0], [parts[0] for (order, _), parts in runs.items() if order == 0])
    settings = settings_of(args, tasks[0], num_real=args.num_real)
    settings['tasks'] = [data.fingerprint for data in tasks]
    settings['epochs_real'] = args.epochs_real or EPOCHS
    curves = {}
    name = study_name('tasks', args)
    with Ledger(args.save_path, name, settings, args.command) as ledger:
        for order in range(args.orders):
            for memory in args.memories:
                chain = Chain(args, tasks, ledger, order, memory, runs.get((order, memory)))
                for distilled in (False, True):
                    for task in range(len(tasks)):
                        chain.train(task, distilled)
                    keys = [chain.key(task, distilled) for task in range(len(tasks))]
                    means = [np.mean(ledger.accuracies(key)) for key in keys]
                    row = f'{memory}{DISTILLED if distilled else ""}'
                    curves.setdefault(row, []).append(means)
    return {row: np.array(values) for row, values in curves.items()}, ledger
