"""Going on: what a run takes over from an earlier one of fewer iterations, sets or networks.

These three flags decide how far a run goes, not what it computes on the way. So a run looks, at the
start of each set, for a neighbour in --save_path that has this set, or the start of it. It ends as
if it had been made at once, bit for bit on the CPU. Only intermediate evaluations (--eval_every)
keep the networks that they had: their sets are gone.
"""

import contextlib
import json
import re
from pathlib import Path
from typing import NamedTuple

from dataset.data import Data
from experiment.checkpoint import (
    REMEDY,
    check_within,
    difference,
    load_checkpoint,
    progress_of,
)
from experiment.progress import Progress
from experiment.run import Run
from processes import ranks
from storage.files import check_file, load_tensors, save_tensors, write_atomic
from storage.kinds import anything, check, count, number, plain
from utils import UserError, plural

LENGTHS = 'Iteration', 'num_exp', 'num_eval'
RECORD = {'exp': count, 'iteration': count, 'evaluate_seconds?': number}
END = {'args': {str: plain}, 'iteration': count, 'method': {str: anything}}


class Start(NamedTuple):
    """What a neighbour has of a set, up to an iteration: a finished set, or the method's state.

    records: of the neighbour's log; a set of an evaluation has neither a set nor a state.
    """

    folder: Path
    iteration: int
    accs: dict[str, list[float]]
    records: list[dict]
    given: list | None = None
    method: dict | None = None
    seconds: float = 0.0
    evaluated: bool = False
    evaluate_seconds: float = 0.0

    def reach(self) -> tuple[int, int]:
        """Return how far it is: iterations, then networks."""
        return self.iteration, sum(map(len, self.accs.values()))


def end_path(folder: Path, exp: int) -> Path:
    """Return the file of the method's state at the end of set number exp."""
    return folder / f'end_exp{exp}.pt'


def save_end(run: Run, exp: int, method) -> None:
    """Keep the state at the end of set number exp, for a run of more iterations."""
    if ranks.leads() and hasattr(method, 'step'):
        run.check_own()
        _write_end(run, exp, method.state_dict())


def _write_end(run: Run, exp: int, state: dict) -> None:
    content = {'args': run.args, 'iteration': run.args['Iteration'], 'method': state}
    save_tensors(end_path(run.folder, exp), content)


class GivenSet:
    """A finished set of another run, in place of the method that made it: it needs networks.

    synset, stored: [images, labels]; stored: what tiles are decoded from, if there are any. Raises
    UserError, which names path, for a set that is not of the data.
    """

    def __init__(self, data: Data, path: Path, synset: list, stored: list | None = None):
        images, labels = synset
        fits = tuple(images.shape[1:]) == data.shape and labels.ndim == 1
        if not fits or int(labels.max()) >= data.num_classes:
            raise UserError(f'{path} holds a set that is not of {data.name}; {REMEDY}')
        self.synset = [part.to(data.device) for part in synset]
        self.stored = [part.to(data.device) for part in stored or synset]


class Neighbours:
    """The runs beside this one that differ from it in nothing but smaller LENGTHS.

    total_matters: what makes the number of all iterations matter from the first one on, None if
    nothing does. Then only sets of as many iterations are taken over.
    """

    def __init__(self, run: Run, total_matters: str | None = None):
        self.run, self.total_matters, self.said = run, total_matters, set()
        self.last, self.every = run.args.get('Iteration', 0), run.args.get('eval_every', 0)

    def take_over(self, progress: Progress) -> Path | None:
        """Bring the set that progress is about to begin as far as a neighbour brought it.

        Return the neighbour's folder, None if there is none.
        """
        starts = self._starts(progress.exp) if ranks.leads() else []
        start = ranks.from_first(max(starts, key=Start.reach, default=None))
        if start is None:
            return None
        at, networks = start.iteration, plural(start.reach()[1], 'network')
        print(f'set {progress.exp} goes on from {start.folder}, iteration {at}, {networks}')
        self._copy(start, progress.exp)

        # A set that is finished here, too, only needs its networks; else its method goes on.
        progress.iteration, progress.seconds = at, start.seconds
        progress.given, progress.method = start.given, {} if start.given else start.method
        # The evaluation at its end counts here if this run, too, would evaluate there.
        if at >= self.last or (self.every and at % self.every == 0):
            progress.accs = {model: list(values) for model, values in start.accs.items()}
            progress.evaluated, progress.evaluate_seconds = start.evaluated, start.evaluate_seconds
        return start.folder

    def _starts(self, exp):
        """Yield what each neighbour has of set number exp."""
        for folder in sorted(self.run.folder.parent.iterdir()):
            if folder != self.run.folder and _bare(folder.name) == _bare(self.run.folder.name):
                try:
                    start = self._start(folder, exp)
                except (UserError, OSError) as error:  # it may be another user's, and closed
                    self._say(f'not going on from {folder}: {error}')
                    continue
                if start:
                    yield start

    def _start(self, folder, exp) -> Start | None:
        """Return what the run in folder has of a set; raise UserError if that is of no use."""
        state = load_checkpoint(folder / 'checkpoint.pt')
        if state is None:
            if any(folder.glob('res_*.pt')):
                raise UserError('it has no checkpoint any more')
            return None
        progress, args = progress_of(state), state['args']
        if not all(count(args.get(name, 0)) for name in LENGTHS):
            raise UserError('its arguments are damaged')
        check_within(folder / 'checkpoint.pt', progress, args)
        if any(args.get(name, 0) > self.run.args.get(name, 0) for name in LENGTHS):
            return None
        other = difference(_without_lengths(args), _without_lengths(self.run.args))
        if other:
            raise UserError(f'it {other}')
        begun = progress.method is not None or progress.accs
        if exp > progress.exp or (exp == progress.exp and not begun):
            return None
        last = args.get('Iteration', 0)
        if last < self.last and self.total_matters:
            raise UserError(f'with {self.total_matters} all depends on the number of iterations')
        records, seconds = _records(folder, exp, state['log_bytes'], last)
        if exp == progress.exp and not progress.given:
            return Start(
                folder, progress.iteration, progress.accs, records, None, progress.method,
                progress.seconds, progress.evaluated, progress.evaluate_seconds,
            )  # fmt: skip
        accs, given = progress.accs, progress.given
        if exp < progress.exp:
            accs = _accuracies(progress, exp, args['num_eval'])
            given = [of[exp] for of in (progress.sets, progress.stored) if of]
        start = Start(folder, last, accs, records, evaluate_seconds=seconds)
        # What is as long only needs networks. A set of an evaluation is in a file.
        if last == self.last:
            return start._replace(given=given or None)
        return start._replace(method=_state_at_end(folder, exp, args))

    def _copy(self, start, exp):
        """Take over the log of a set, its pictures, and the state at its end."""
        for record in start.records:
            self.run.log(record)
        if not ranks.leads():
            return
        kept = {record['iteration'] for record in start.records if 'accs' in record}
        for path in start.folder.glob(f'vis_*_exp{exp}_iter*.png'):
            if path.stem.rpartition('iter')[2] in map(str, kept) and path.is_file():
                write_atomic(self.run.folder / path.name, path.read_bytes())
        # So that a longer run may go on from this one, too; nothing here needs it.
        state = None
        with contextlib.suppress(UserError):
            state = start.given and _state_at_end(start.folder, exp, self.run.args)
        if state:
            _write_end(self.run, exp, state)

    def _say(self, line):
        if line not in self.said:
            print(line)
        self.said.add(line)


def _bare(name: str) -> str:
    """Return the name of a run without the flags that decide how far it goes."""
    return re.sub(rf'_({"|".join(LENGTHS)})=\d+', '', name)


def _without_lengths(args: dict) -> dict:
    return {key: value for key, value in args.items() if key not in LENGTHS}


def _accuracies(progress: Progress, exp: int, num: int) -> dict[str, list[float]]:
    """Return those of a finished set; num: how many networks a set was evaluated by."""
    return {
        model: values[exp * num : (exp + 1) * num]
        for model, values in progress.accs_all_exps.items()
    }


def _state_at_end(folder: Path, exp: int, args: dict) -> dict:
    """Return the method's state at the end of a set; raise UserError if it was not kept."""
    path = end_path(folder, exp)
    if not path.exists():
        raise UserError('the state at the end of its sets was not kept')
    end = check(path, 'state at the end of a set', load_tensors(path, 'state'), END)
    other = difference(_without_lengths(end['args']), _without_lengths(args))
    if other or end['iteration'] != args.get('Iteration'):
        raise UserError(f'{path} is of another run')
    return end['method']


def _records(folder: Path, exp: int, size: int, last: int) -> tuple[list[dict], float]:
    """Return the records of a set in a log, and the seconds of the evaluation at its end.

    This evaluation is left out: it is logged once more, when it has all its networks.
    """
    path = folder / 'log.jsonl'
    check_file(path, 'log')
    with open(path, 'rb') as file:
        lines = file.read(size).splitlines()
    try:
        records = check(path, 'log', [json.loads(line) for line in lines], [RECORD])
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is damaged') from error
    kept = [r for r in records if r['exp'] == exp]
    at_end = [r for r in kept if 'accs' in r and r['iteration'] == last]
    seconds = sum(r.get('evaluate_seconds') or 0.0 for r in at_end)
    return [r for r in kept if r not in at_end], seconds
