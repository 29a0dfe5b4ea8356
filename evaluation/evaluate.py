"""Evaluate a synthetic set: train fresh networks on it alone, and test them on real images."""

import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from tqdm import tqdm

from dataset.cutmix import CutMix
from dataset.data import Data
from engine.training import test_accuracy, train_in_thirds, train_on_set
from evaluation.protocol import (
    augmentation_of,
    batch_of,
    eval_pool,
    protocol,
    protocol_of,
    strategy_of,
)
from evaluation.real import sample
from experiment.arguments import Arguments
from experiment.compiling import settle_compile
from experiment.flags import FLAGS, KINDS
from experiment.go_on import Neighbours
from experiment.layouts import FAR
from experiment.progress import Progress
from experiment.result import is_finished, report_finished, result_of, save_result
from experiment.run import Run
from networks import network_for
from processes import ranks
from utils import Rng

# The name of the random stream. Published numbers were made with it, so it never changes.
STREAM = 'judge'


def evaluate_network(
    images: torch.Tensor,
    labels: torch.Tensor,
    data: Data,
    model: str,
    rng: Rng,
    *,
    strategy: str,
    epochs: int | None,
    lr_net: float,
    batch_train: int,
    precision: str,
    compile: bool | str = False,
    name: str | None = None,
) -> float:
    """Train one fresh network on images (N, C, H, W) and labels (N,); return its test accuracy.

    strategy, epochs, name: see protocol.
    """
    how = protocol(model, data.name, strategy, epochs, name)
    net = network_for(model, data, rng.generator)
    train, settings = train_on_set, {}
    if how['protocol'] == 'idc':
        train, settings = train_in_thirds, {'mix': CutMix(data.num_classes, rng)}
    train(
        net, images, labels, epochs=how['epochs'], lr=lr_net, batch_size=batch_train, rng=rng,
        augmentation=augmentation_of(how, data.shape, rng), precision=precision, compile=compile,
        **settings,
    )  # fmt: skip
    # On stderr, which every rank has.
    if not all(value.isfinite().all() for value in net.state_dict().values()):
        rate, largest = f'--lr_net than {lr_net}', float(images.abs().max())
        if largest > FAR:
            rate += f', or --lr_img (the images reach {largest:.1g}),'
        tqdm.write(
            f'{model}: its training diverged, so its accuracy is meaningless; a smaller {rate} '
            'may help',
            file=sys.stderr,
        )
    return test_accuracy(net, data, precision, compile)


def networks_left(
    pool: tuple[str, ...], num_eval: int, accs: dict[str, list[float]]
) -> Iterator[tuple[str, int]]:
    """Yield (model, number) of each network that accs, {model: accuracies so far}, lacks."""
    for model in pool:
        for number in range(len(accs.get(model, ())), num_eval):
            yield model, number


def evaluate(
    run: Run, progress: Progress, synset, data: Data, pool, args: Arguments, save_progress
) -> None:
    """Evaluate synset by num_eval networks of each name in pool, saving along the way.

    progress.accs holds what is done; save_progress() is called whenever the run is due to be saved.
    """
    # As many networks at once as there are ranks: they do not depend on each other.
    left = list(networks_left(pool, args.num_eval, progress.accs))
    rounds = [left[start : start + ranks.size()] for start in range(0, len(left), ranks.size())]
    for networks in tqdm(rounds, 'evaluate', leave=False, disable=not ranks.leads()):
        started, results = time.monotonic(), torch.zeros(len(networks), 2, dtype=torch.float64)
        with run.interruptible():  # a network is quickly trained again
            for place, (model, number) in enumerate(networks):
                if ranks.owns(place):
                    # Seed and set number alone decide: two methods of one seed meet the same
                    # networks.
                    rng = Rng(data.device, args.seed, progress.exp, STREAM, model, number)
                    accuracy = evaluate_network(
                        *synset, data, model, rng, strategy=strategy_of(vars(args)),
                        epochs=args.epoch_eval_train, lr_net=args.lr_net,
                        batch_train=batch_of(vars(args)), precision=args.precision,
                        compile=args.compile, name=protocol_of(vars(args)),
                    )  # fmt: skip
                    results[place] = torch.tensor([1, accuracy], dtype=torch.float64)
        # Those that are done, up to the first that a signal broke off.
        ranks.add_up(results)
        for (model, _), (done, accuracy) in zip(networks, results.tolist(), strict=True):
            if not done:
                break
            progress.accs.setdefault(model, []).append(accuracy)
        progress.evaluate_seconds += time.monotonic() - started
        if run.due():
            save_progress()


def print_plan(run: Run, args: Arguments, data: Data, pool: tuple[str, ...]) -> None:
    """Say what is about to happen: the flags by kind, the data, how sets are evaluated."""
    lines, values = {}, vars(args)
    for kind in KINDS:
        names = [name for name, flag in FLAGS.items() if flag.kind == kind and name in values]
        lines[kind] = '  '.join(f'{name} {values[name]}' for name in names)
    sizes = [len(index) for index in data.indices_class]
    lines['images'] = (
        f'{data.name}: {sum(sizes)} training images of {"x".join(map(str, data.shape))}, '
        f'{len(sizes)} classes of {min(sizes)} to {max(sizes)}; {len(data.labels_test)} test images'
    )
    networks = []
    for model in pool:
        settings = strategy_of(values), args.epoch_eval_train, protocol_of(values)
        how = protocol(model, data.name, *settings)
        parts = ', '.join(f'{key} {value}' for key, value in how.items())
        networks.append(f'{args.num_eval} x {model} ({parts})')
    lines['networks'] = '; '.join(networks)
    if ranks.size() > 1:
        lines['ranks'] = f'{ranks.size()} share the work'
        if ranks.size() > len(sizes):
            lines['ranks'] += f', more than {len(sizes)} classes need: some may only evaluate'
    for title, text in lines.items():
        if text:
            print(textwrap.fill(f'{title:<12}{text}', 100, subsequent_indent=' ' * 12))
    print(f'{"folder":<12}{run.folder}')


def evaluate_sets(sets: list, args: Arguments, stored: list, data: Data) -> Path:
    """Evaluate every set in a run folder of its own, resumable; return the result file."""
    result_path = result_of(args, Path(args.synset).stem, data)
    if is_finished(result_path, data):
        report_finished(result_path)
        return result_path
    pool = eval_pool(args.eval_mode, args.model)
    args = settle_compile(args, data, pool)
    with Run(args, data) as run:
        progress, neighbours = run.resume() or Progress(), Neighbours(run)
        run.describe(args, data.device)
        print_plan(run, args, data, pool)
        while progress.exp < len(sets):
            if not progress.accs:
                neighbours.take_over(progress)
            synset = sets[progress.exp]
            evaluate(run, progress, synset, data, pool, args, lambda: run.checkpoint(progress))
            keys = ('exp', 'iteration', 'accs', 'evaluate_seconds')
            run.log({key: getattr(progress, key) for key in keys})
            progress.next_set()
            run.checkpoint(progress)
        progress.stored = [[part.cpu() for part in pair] for pair in stored]
        kept = [sample(data)] if args.synset == 'full' else sets
        progress.sets = [[part.cpu() for part in pair] for pair in kept]
        save_result(run, result_path, data, progress)
        return result_path
