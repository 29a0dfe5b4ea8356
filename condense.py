"""The loop: condense this data, by this method, seeing real images through this sampler.

    condense(METHODS[args.method], data, sampler, args)

It makes num_exp sets one after the other. Whatever happens, results/<run name>/ holds all that was computed
up to the last minute, and the same command goes on from there to the same end, bit for bit on the CPU.
"""

import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

from compiling import settle_compile
from data import Data
from device import Rng, peak_memory
from errors import UserError
from evaluation.judge import check_pool, eval_pool, judge_network, networks_left, protocol
from runfolder import Run
from storage import load_result, save
from utils import Arguments, flags_of


def condense(method_class, data: Data, sampler, args: Arguments) -> dict[str, list[float]]:
    """Condense args.num_exp sets, judge them, save all in the run's folder; return {network: accuracies}.

    Resumes where the same command stopped; a finished run only says so. Raises UserError for a user's mistake
    and SystemExit (130, 143) after a signal.
    """
    result_path = result_of(args, args.method, data)
    if is_finished(result_path, data):
        return report_finished(result_path)
    pool = eval_pool(args.eval_mode, args.model)
    check_pool(pool, data, args.ipc, args.batch_train)
    args = settle_compile(args, data, pool, getattr(method_class, 'EPOCHS_ON_ALL', 0))
    build(method_class, data, sampler, args, exp=0)  # a mistake shows here, before there is a folder
    with Run(args, data) as run:
        saved = run.resume()
        run.describe(args, data.device)
        print_plan(run, args, data, pool, saved)

        state = saved or {'exp': 0, 'sets': [], 'accs_all_exps': {}}
        while state['exp'] < args.num_exp:
            method = build(method_class, data, sampler, args, state['exp'])
            if 'method' in state:
                method.load_state_dict(state.pop('method'))
            else:
                state |= at_iteration(0)
            condense_one(run, state, method, data, pool, args)
            state['sets'].append([part.cpu().clone() for part in method.synset])
            next_set(state)
            run.checkpoint(state)
        return save_result(run, result_path, data, state['sets'], state['accs_all_exps'])


def result_of(args: Arguments, name: str, data: Data) -> Path:
    """Return the result file of a run."""
    folder = Path(args.save_path) / args.run_name
    return folder / f'res_{name}_{data.name}_{args.model}_{args.ipc}ipc.pt'


def is_finished(result_path: Path, data: Data) -> bool:
    """Tell whether the run of this result file is finished: the file is the last thing that a run writes.

    Raises UserError if it was made from other data than these.
    """
    if not result_path.exists():
        return False
    made_from = load_result(result_path).get('args', {}).get('data_hash', data.fingerprint)
    if made_from != data.fingerprint:
        raise UserError(
            f'{result_path} was made from other data of the name {data.name}; choose another --save_path, or '
            'remove the folder to start anew'
        )
    return True


def at_iteration(it: int) -> dict:
    """Return the part of the state that begins anew with iteration number it."""
    return {'iteration': it, 'seconds': 0.0, 'evaluated': False, 'accs': {}, 'judge_seconds': 0.0}


def next_set(state: dict) -> None:
    """Add the accuracies of the set just judged to those of all sets, and go on to the next one."""
    for model, values in state['accs'].items():
        state['accs_all_exps'].setdefault(model, []).extend(values)
    state |= {'exp': state['exp'] + 1, 'accs': {}, 'judge_seconds': 0.0}


def save_result(run: Run, path: Path, data: Data, sets: list, accs: dict[str, list[float]]) -> dict:
    """Write the result file in the field's format plus arguments and normalisation; print and return accs."""
    statistics = {'mean': data.mean.flatten().tolist(), 'std': data.std.flatten().tolist()}
    save(path, {'data': sets, 'accs_all_exps': accs, 'args': run.args} | statistics)
    print(f'{path}\n{summary(accs)}')
    return accs


def report_finished(path: Path) -> dict[str, list[float]]:
    """Say that the run of this result file is finished, and return its accuracies."""
    accs = load_result(path).get('accs_all_exps', {})
    print(f'{path} is finished\n{summary(accs)}')
    return accs


def build(method_class, data: Data, sampler, args: Arguments, exp: int):
    """Make the method for set number exp: its keywords are the flags of the same names."""
    rng = Rng(data.device, args.seed, exp, 'condense')
    return method_class(data, sampler, rng=rng, **flags_of(method_class, args))


def condense_one(run: Run, state: dict, method, data: Data, pool: tuple[str, ...], args: Arguments) -> None:
    """Bring the set of `method` from state['iteration'] to args.Iteration, judging it when that is due."""

    def save_state():
        run.checkpoint(state | {'method': method.state_dict()})

    description = f'set {state["exp"]}'
    with tqdm(total=args.Iteration, initial=state['iteration'], desc=description, dynamic_ncols=True) as bar:
        while True:
            it = state['iteration']
            due = it == args.Iteration or (args.eval_every and it % args.eval_every == 0)
            if due and not state['evaluated']:
                evaluate(run, state, method, data, pool, args, save_state)
            if it == args.Iteration:
                return

            started = time.monotonic()
            try:
                log = method.step(pause=run.due)
            except FloatingPointError as error:
                kept = f' The last good checkpoint is kept in {run.folder}' * run.checkpoint_path.exists()
                raise UserError(
                    f'{error} at iteration {it} of set {state["exp"]}: images or networks diverge; use a '
                    f'smaller --lr_img than {args.lr_img}, or --lr_net than {args.lr_net}.{kept}'
                ) from None
            state['seconds'] += time.monotonic() - started
            if log is not None:  # None: paused within the iteration
                bar.set_postfix(loss=f'{log["loss"]:.4f}')
                bar.update()
                memory = {'peak_memory_mib': peak_memory(data.device)}
                run.log(
                    {'exp': state['exp'], 'iteration': it + 1, 'seconds': state['seconds']} | memory | log
                )
                state |= at_iteration(it + 1)
            if run.due():
                save_state()


def evaluate(run: Run, state: dict, method, data: Data, pool, args: Arguments, save_state) -> None:
    """Save the picture of the set, judge it, log and print its accuracy."""
    it, synset = state['iteration'], method.synset
    name = f'vis_{args.method}_{data.name}_{args.model}_{args.ipc}ipc_exp{state["exp"]}_iter{it}.png'
    picture = run.picture(name, data.viewable(synset[0]), args.ipc, state)
    judge(run, state, synset, data, pool, args, save_state)
    state['evaluated'] = True
    run.log({key: state[key] for key in ('exp', 'iteration', 'accs', 'judge_seconds')})
    tqdm.write(f'set {state["exp"]}, iteration {it}: {summary(state["accs"])}; {picture}')


def judge(run: Run, state: dict, synset, data: Data, pool, args: Arguments, save_state) -> None:
    """Judge synset by num_eval networks of each name in pool into state['accs'], saving along the way."""
    for model, number in tqdm(list(networks_left(pool, args.num_eval, state['accs'])), 'judge', leave=False):
        # Networks depend on seed and set number alone: two methods of one seed are judged by the same ones.
        rng, started = Rng(data.device, args.seed, state['exp'], 'judge', model, number), time.monotonic()
        with run.interruptible():
            accuracy = judge_network(
                *synset,
                data,
                model,
                rng,
                strategy=args.dsa_strategy,
                epochs=args.epoch_eval_train,
                lr_net=args.lr_net,
                batch_train=args.batch_train,
                precision=args.precision,
                compile=args.compile,
            )
            state['accs'].setdefault(model, []).append(accuracy)
            state['judge_seconds'] += time.monotonic() - started
        if run.due():
            save_state()


def summary(accs: dict[str, list[float]]) -> str:
    """Return 'network: mean ± std % (n networks)' of accuracies in [0, 1], and population std."""
    return ', '.join(
        f'{model} {100 * np.mean(values):.2f} ± {100 * np.std(values):.2f} % ({len(values)} networks)'
        for model, values in accs.items()
    )


def print_plan(run: Run, args: Arguments, data: Data, pool: tuple[str, ...], saved: dict | None) -> None:
    """Say what is about to happen: every argument, the data, the protocol, and where a resumed run stands."""
    print('  '.join(f'{key}={value}' for key, value in run.args.items() if key != 'made_by'))
    sizes, shape = [len(index) for index in data.indices_class], 'x'.join(map(str, data.shape))
    print(
        f'{data.name}: {sum(sizes)} training images of {shape}, {len(sizes)} classes of {min(sizes)} to '
        f'{max(sizes)}; {len(data.labels_test)} test images; on {data.device}'
    )
    for model in pool:
        how = protocol(model, data.name, args.dsa_strategy, args.epoch_eval_train)
        print(
            f'judged by {args.num_eval} x {model}: '
            + ', '.join(f'{key} {value}' for key, value in how.items())
        )
    if saved:
        print(f'going on in {run.folder} from set {saved["exp"]}, iteration {saved.get("iteration", 0)}')
