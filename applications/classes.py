"""Class-incremental learning from a memory: GDumb (Prabhu et al., ECCV 2020), as in DM's study.

Classes come in steps, in a random order. The memory of a step is made from its classes alone, and
is never changed. At each step a fresh network learns the memory of all classes seen, and is tested
on them. All memories are learned by one protocol, and meet the same networks.
"""

import time

import numpy as np

from applications.curves import BOUND
from applications.ledger import Ledger
from applications.sets import (
    accuracy_of,
    check_runs,
    check_sizes,
    check_taken,
    check_twice,
    joined,
    made_set,
    protocol_values,
    run_of,
    settings_of,
    study_name,
    title,
)
from applications.subsets import add_classes, class_steps, with_classes
from dataset.data import Data, RealImages
from evaluation.protocol import batch_of, check_pool
from evaluation.real import EPOCHS
from experiment.arguments import Arguments
from experiment.data import load_data
from utils import Rng, UserError

STEPS = 5


def check_steps(args: Arguments, data: Data) -> None:
    """Raise UserError for more steps than the classes give."""
    most = data.num_classes // 2
    if args.steps > most:
        raise UserError(
            f'--steps {args.steps} is too many for the {data.num_classes} classes of {data.name}, '
            f'as a step needs two to tell apart; use at most {most}'
        )


def seen(args: Arguments, data: Data) -> list[int]:
    """Return how many classes were seen after each step."""
    parts = class_steps(data.num_classes, args.steps, args.seed, 0)
    return np.cumsum([len(part) for part in parts]).tolist()


class Memories:
    """The memories of one order, made when they are asked for.

    steps: the classes of each step; runs: {name: run of each step}.
    """

    def __init__(self, args: Arguments, data: Data, order: int):
        self.args, self.data = args, data
        self.steps = class_steps(data.num_classes, args.steps, args.seed, order)
        names = [add_classes(data, part) for part in self.steps]
        self.runs = {
            memory: [run_of(args, memory, name, args.seed + order) for name in names]
            for memory in args.memories
            if memory != BOUND
        }
        self.parts = {}  # {name: sets of its first steps}

    def title(self, memory: str) -> str:
        """Return what the ledger calls a memory."""
        if memory == BOUND:
            return f'{BOUND} epochs={self.args.epochs_real or EPOCHS}'
        return title(memory, self.runs[memory][0])

    def of_step(self, memory: str, step: int, data: Data):
        """Return images and labels of all classes seen; data: these classes."""
        if memory == BOUND:
            return RealImages(data), data.labels_train
        parts, start = self.parts.setdefault(memory, []), 0
        for run in self.runs[memory][len(parts) : step + 1]:
            parts.append(made_set(run, load_data(run)))
        sets = []
        for (images, labels), classes in zip(parts[: step + 1], self.steps, strict=False):
            sets.append((images, labels + start))
            start += len(classes)
        return joined(sets)


def study(args: Arguments, data: Data) -> tuple[dict[str, np.ndarray], Ledger]:
    """Train what is missing; return {memory: accuracies (orders, steps)}, and its ledger.

    Raises UserError for a user's mistake, before anything is trained.
    """
    check_steps(args, data)
    orders = [Memories(args, data, order) for order in range(args.orders)]
    runs = [run for of_order in orders for parts in of_order.runs.values() for run in parts]
    check_taken(args, '--memories', runs)
    check_twice('--memories', {name: orders[0].title(name) for name in args.memories})
    check_sizes(args, data, runs)
    num = args.ipc * data.num_classes
    check_pool((args.model,), data, num, batch_of(protocol_values(args, data)))
    first = [parts[0] for parts in orders[0].runs.values()]
    if first:
        check_runs(load_data(first[0]), first)
    settings = settings_of(args, data, steps=args.steps)
    name = study_name('classes', args)
    with Ledger(args.save_path, name, settings, args.command) as ledger:
        for order, memories in enumerate(orders):
            for step in range(args.steps):
                train_step(args, data, ledger, memories, order, step)
        curves = {
            memory: np.array(
                [
                    [np.mean(accuracies(args, ledger, memories, memory, order, step))
                     for step in range(args.steps)]
                    for order, memories in enumerate(orders)
                ]
            )
            for memory in args.memories
        }  # fmt: skip
    return curves, ledger


def key_of(memories: Memories, memory: str, order: int, step: int, number: int) -> str:
    """Return the key of a network in the ledger."""
    return f'{memories.title(memory)}, order {order}, step {step}, network {number}'


def accuracies(args, ledger: Ledger, memories: Memories, memory: str, order: int, step: int):
    """Return the accuracies of the networks of a step, all in the ledger."""
    keys = [key_of(memories, memory, order, step, number) for number in range(args.num_eval)]
    return [ledger.accuracies(key)[0] for key in keys]


def train_step(
    args: Arguments, data: Data, ledger: Ledger, memories: Memories, order: int, step: int
) -> None:
    """Train the networks of one step that the ledger lacks."""
    classes = sum(memories.steps[: step + 1], [])
    of_step = None
    for memory in args.memories:
        for number in range(args.num_eval):
            key = key_of(memories, memory, order, step, number)
            if key in ledger:
                continue
            of_step = of_step or with_classes(data, classes)
            synset = memories.of_step(memory, step, of_step)
            started = time.monotonic()
            # Neither the memory nor its kind decides the network: memories are compared in pairs.
            rng = Rng(data.device, args.seed, 'classes', order, step, number)
            full = args.epochs_real or EPOCHS
            epochs = full if memory == BOUND else args.epoch_eval_train
            accuracy = accuracy_of(synset, of_step, args, rng, epochs)
            ledger.add(key, [accuracy], time.monotonic() - started)
            print(f'{key}: {len(classes)} classes, {100 * accuracy:.1f} %', flush=True)
