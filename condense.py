"""The loop: condense this data, by this method, seeing real images through this sampler.

    condense(METHODS[args.method], data, make_sampler, args)

It makes num_exp sets in turn. Whatever happens, results/<run name>/ holds all that was
computed up to the last minute. The same command continues from there to the same end, bit for bit
on the CPU.
"""

import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

from dataset.data import Data
from engine.device import peak_memory
from evaluation.evaluate import evaluate, print_plan
from evaluation.protocol import batch_of, check_pool, eval_pool
from experiment.arguments import Arguments, flags_of, num_images
from experiment.checkpoint import finite, restore
from experiment.compiling import settle_compile
from experiment.go_on import GivenSet, Neighbours, save_end
from experiment.progress import Progress, stores_apart
from experiment.result import is_finished, report_finished, result_of, save_result, summary
from experiment.run import Run
from experiment.shelf import keywords_of, needs_clusters, spelled
from experiment.tensorboard import summary_writer
from features.given import clusters_at_hand
from processes import ranks
from storage.files import check_writable
from utils import Rng, UserError


def condense(method_class, data: Data, make_sampler, args: Arguments) -> dict[str, list[float]]:
    """Condense and evaluate args.num_exp sets in the run's folder; return {network: accuracies}.

    make_sampler(data, args) is called when all else has been tried. Resumes where the same command
    stopped; a finished run only says so. Raises UserError for a user's mistake, and SystemExit.
    """
    # The result file is the last that a run writes: if it is there, nothing is left to do.
    result_path = result_of(args, spelled(args.method, vars(args).get('draw')), data)
    if is_finished(result_path, data, partial(clusters_at_hand, data, args)):
        return report_finished(result_path)

    # Mistakes show here, before there is a folder.
    pool = eval_pool(args.eval_mode, args.model)
    try_everything(method_class, data, make_sampler, args, pool)
    sampler = make_sampler(data, args)
    args = settle_compile(args, data, pool, getattr(method_class, 'EPOCHS_ON_ALL', 0))

    def timed_build(exp):
        started = time.monotonic()
        method = build(method_class, data, sampler, args, exp)
        return method, time.monotonic() - started

    made = {0: timed_build(0)}
    with Run(args, data, getattr(sampler, 'fingerprint', None)) as run:
        saved = run.resume()
        run.describe(args, data.device)
        print_plan(run, args, data, pool)
        if saved:
            print(f'continuing from set {saved.exp}, iteration {saved.iteration}')
        # One set after the other: each draws from random streams of its own.
        progress = saved or Progress()
        neighbours = Neighbours(run, total_matters(method_class, args))
        while progress.exp < args.num_exp:
            method = begin_set(run, progress, neighbours, data, made, timed_build)
            condense_one(run, progress, method, data, pool, args)
            # The method's state at the end stays, for a run of more iterations.
            save_end(run, progress.exp, method)
            # A finished set moves to the CPU, so that a GPU holds one set at a time.
            progress.sets.append([part.cpu().clone() for part in method.synset])
            if stores_apart(vars(args)):
                progress.stored.append([part.cpu().clone() for part in method.stored])
            progress.next_set()
            run.checkpoint(progress)
        kernel_accs = kernel_accuracies(method_class, data, args, progress)
        return save_result(run, result_path, data, progress, kernel_accs)


def try_everything(
    method_class, data: Data, make_sampler, args: Arguments, pool: tuple[str, ...]
) -> None:
    """Raise UserError for what would fail after hours: networks, the folder, packages, flags."""
    if ranks.leads():
        check_writable(Path(args.save_path) / args.run_name / 'log.jsonl', '--save_path')
    if args.tensorboard:
        summary_writer()
    check_pool(pool, data, data.num_classes * num_images(vars(args)), batch_of(vars(args)))
    if hasattr(method_class, 'check'):
        method_class.check(data, args)
    # What the method itself refuses shows before clusters are made.
    if needs_clusters(vars(args).get('draw')):
        uniform = make_sampler(data, args.replaced(draw='uniform'))
        build(method_class, data, uniform, args.replaced(compile=False), 0)


def build(method_class, data: Data, sampler, args: Arguments, exp: int):
    """Make the method for set number exp: its keywords are the flags of the same names."""
    # The stream does not know the method: two methods of one seed begin from the same images.
    rng = Rng(data.device, args.seed, exp, 'condense')
    return method_class(data, sampler, rng=rng, **flags_of(method_class, args))


def total_matters(method_class, args: Arguments) -> str | None:
    """Return what makes the number of all iterations matter from the first on, None if nothing.

    A method that takes it as a keyword, and does not say more, uses it.
    """
    if hasattr(method_class, 'total_matters'):
        return method_class.total_matters(args)
    return f'--method {args.method}' if 'Iteration' in keywords_of(method_class) else None


def kernel_accuracies(
    method_class, data: Data, args: Arguments, progress: Progress
) -> list[float] | None:
    """Return each set's accuracy by a kernel, of a method whose images serve one, else None."""
    if not hasattr(method_class, 'kernel_accuracy'):
        return None
    # Learned labels are in what is stored; what networks are trained on has classes.
    sets = progress.stored or progress.sets
    try:
        return [method_class.kernel_accuracy(data, args, *pair) for pair in sets]
    except UserError as error:  # the networks' accuracies are there
        print(f'no accuracy by the kernel: {error}')
        return None


def begin_set(
    run: Run, progress: Progress, neighbours: Neighbours, data: Data, made: dict, timed_build
):
    """Return the method of the set that progress begins or continues, in the state it had there.

    timed_build(exp) makes (method, seconds) of set number exp; made: {exp: those made already}.
    """
    # A shorter run may have the set, or the start of it. (Without a step the state is empty.)
    source = neighbours.take_over(progress) if progress.method is None else None
    built = made.pop(progress.exp, None)
    made.clear()  # else a GPU would hold two methods
    # Of a finished set nothing but networks is missing.
    if progress.given:
        return GivenSet(data, source or run.checkpoint_path, *progress.given)
    method, seconds = built or timed_build(progress.exp)
    # What the start of the images takes counts as time of the first iteration.
    if progress.method is None:
        progress.seconds += seconds
    elif hasattr(method, 'step'):
        restore(method, progress.method, source or run.checkpoint_path)
    return method


def condense_one(
    run: Run, progress: Progress, method, data: Data, pool: tuple[str, ...], args: Arguments
) -> None:
    """Bring the set of `method` from progress.iteration to its last, evaluating it when due."""
    # A method without a step has chosen its images: its set is only evaluated.
    last, every = vars(args).get('Iteration', 0), vars(args).get('eval_every', 0)

    def save_progress():
        progress.method = method.state_dict() if hasattr(method, 'step') else {}
        # A network can diverge while the images still are numbers; nothing could go on from it.
        if not finite(progress.method):
            raise UserError(diverged('numbers that are not finite', run, progress, args))
        run.checkpoint(progress)

    with progress_bar(progress, last) as bar:
        while True:
            # Evaluate when due: the set that is saved at the end is the set that was evaluated.
            due = progress.iteration >= last or (every and progress.iteration % every == 0)
            if due and not progress.evaluated:
                evaluate_set(run, progress, method, data, pool, args, save_progress)
            if progress.iteration >= last:
                return

            # One iteration, or a part of it: a long one pauses to be saved.
            # A pause returns None; state_dict() then holds the middle of the iteration.
            started = time.monotonic()
            try:
                log = method.step(pause=run.due)
            except FloatingPointError as error:
                raise UserError(diverged(error, run, progress, args)) from None
            progress.seconds += time.monotonic() - started

            # Log what a whole iteration says of itself.
            if log is not None:
                if 'loss' in log:
                    bar.set_postfix(loss=f'{log["loss"]:.4f}', refresh=False)
                bar.update()
                record = {'exp': progress.exp, 'iteration': progress.iteration + 1}
                record |= {'seconds': progress.seconds, 'peak_memory_mib': peak_memory(data.device)}
                run.log(record | log)  # before the checkpoint, which cuts the log to its own place
                progress.next_iteration()

            # Checkpoint after a minute, or when a signal asks to stop.
            if run.due():
                save_progress()


def progress_bar(progress: Progress, last: int) -> tqdm:
    """Return the bar of a set's iterations; of several ranks the first has it."""
    what, hidden = f'set {progress.exp}', not ranks.leads()
    return tqdm(None, what, last, initial=progress.iteration, dynamic_ncols=True, disable=hidden)


def diverged(error: Exception | str, run: Run, progress: Progress, args: Arguments) -> str:
    """Say where a method diverged, and what helps."""
    kept = f' The last good checkpoint is kept in {run.folder}'
    rates = ', or '.join(
        f'--{name} than {getattr(args, name)}'
        for name in ('lr_img', 'lr_net', 'ce_weight')
        if name in vars(args)
    )
    where = f'iteration {progress.iteration} of set {progress.exp}'
    return (
        f'{error} at {where}: images or networks diverge; '
        f'use a smaller {rates}.{kept if run.checkpoint_path.exists() else ""}'
    )


def evaluate_set(
    run: Run, progress: Progress, method, data: Data, pool, args: Arguments, save_progress
) -> None:
    """Save the picture of the set, evaluate it, log and print its accuracy."""
    # The picture first: it takes no time, and shows what the next minutes evaluate.
    it, synset = progress.iteration, method.synset
    name = spelled(args.method, vars(args).get('draw'))
    name = f'vis_{name}_{data.name}_{args.model}_{args.ipc}ipc_exp{progress.exp}_iter{it}.png'
    stored = method.stored if num_images(vars(args)) > args.ipc else synset
    picture = run.picture(name, data.viewable(stored[0]), args.ipc, progress)
    evaluate(run, progress, synset, data, pool, args, save_progress)
    progress.evaluated = True
    run.log(
        {key: getattr(progress, key) for key in ('exp', 'iteration', 'accs', 'evaluate_seconds')}
    )
    if ranks.leads():
        tqdm.write(f'set {progress.exp}, iteration {it}: {summary(progress.accs)}; {picture}')
