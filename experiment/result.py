"""The result file of a run, in the field's format, and what tables and figures call it.

`data` is [[images (N, C, H, W) normalised, labels (N,)], …], and `accs_all_exps` is {network:
[0 … 1, …]}. Beside these it holds the arguments, the names of the classes, and mean and standard
deviation of the normalisation. With tiles, `data` is what networks are trained on, `stored` what it
is decoded from, in the same form, and `factor` the tiles a side; learned labels (KIP) are there,
too. `kernel_accs`: of each set, by kernel regression (KIP). Of whitened images, `viewable` is what
they look like, in [0, 1]. Other layouts: layouts.py.
"""

import argparse
from pathlib import Path

import numpy as np

from dataset.data import Data
from dataset.names import shortened
from dataset.parts import refuse
from dataset.whitening import EPSILON
from experiment.arguments import Arguments
from experiment.flags import FLAGS, flags_of_kinds
from experiment.layouts import faults_of, in_our_layout
from experiment.progress import Progress
from experiment.run import Run
from experiment.shelf import spelled
from experiment.values import strategy
from experiment.values import word as typed_word
from processes import ranks
from storage.files import MOST, save_tensors
from storage.kinds import check, count, fault, image_set, number, plain, share, switch, word
from storage.kinds import images as image_tensor
from utils import UserError, plural, printable

# A label names the method, and a row the data and the images per class.
IN_LABEL = 'method', 'ipc', 'dataset'
LARGE = 1e6  # no statistics of pixels are larger, nor their inverses
# What main_eval.py evaluates without a file, and its name in tables.
REAL = {'random': 'random', 'full': 'all real images'}


def result_of(args: Arguments, name: str, data: Data) -> Path:
    """Return the result file of a run; name: what was condensed or evaluated."""
    folder = Path(args.save_path) / args.run_name
    name = shortened(f'res_{name}_{data.name}_{args.model}_{args.ipc}ipc', MOST - len('.pt'))
    return folder / f'{name}.pt'


def is_finished(result_path: Path, data: Data, clusters_at_hand=lambda: None) -> bool:
    """Tell whether the run of this result file is finished: the file is the last thing written.

    clusters_at_hand: returns the fingerprint of those that the run means, None if it has none yet.
    Raises UserError if it was made from other data, or other clusters, than these.
    """
    if not ranks.from_first(result_path.exists()):
        return False
    made_by = load_result(result_path)['args']
    if made_by.get('data_hash', data.fingerprint) != data.fingerprint:
        raise UserError(
            f'{result_path} was made from other data of the name {data.name}; choose another '
            '--save_path'
        )
    clusters = clusters_at_hand()
    if clusters and made_by.get('clusters_hash', clusters) != clusters:
        raise UserError(
            f'{result_path} was made with other clusters than these; choose another --save_path, '
            'or name their --cluster_path'
        )
    return True


def save_result(
    run: Run, path: Path, data: Data, progress: Progress, kernel_accs: list[float] | None = None
) -> dict[str, list[float]]:
    """Write the result file of a finished run; print and return its accuracies.

    kernel_accs: accuracies of the sets by kernel regression, of a method that has one.
    """
    accs, content = progress.accs_all_exps, {'data': progress.sets}
    if progress.stored:
        content |= {'stored': progress.stored, 'factor': run.args.get('factor', 1)}
    content |= {'accs_all_exps': accs, 'args': run.args, 'class_names': list(data.class_names)}
    if data.whitening:  # whose matrix is too large for a file
        shown = [data.viewable(images) for images, _ in progress.sets]
        content |= {'zca': EPSILON, 'viewable': shown}
    else:
        content |= {'mean': data.mean.flatten().tolist(), 'std': data.std.flatten().tolist()}
    if kernel_accs:
        content['kernel_accs'] = kernel_accs
    if ranks.leads():
        run.check_own()
        save_tensors(path, content)
    ranks.wait()  # the others may read it
    print(f'{path}\n{summary(accs)}{of_kernel(kernel_accs)}')
    return accs


def report_finished(path: Path) -> dict[str, list[float]]:
    """Say that the run of this result file is finished, and return its accuracies."""
    result = load_result(path)
    accs, kernel_accs = result['accs_all_exps'], result.get('kernel_accs')
    print(f'{path} is finished\n{summary(accs)}{of_kernel(kernel_accs)}')
    return accs


def summary(accs: dict[str, list[float]]) -> str:
    """Return 'network mean ± std % (n networks)' of accuracies in [0, 1], and population std."""
    parts = []
    for model, values in accs.items():
        mean, std = 100 * np.mean(values), 100 * np.std(values)
        accuracy, networks = accuracy_text(mean, std, len(values)), plural(len(values), 'network')
        parts.append(f'{printable(model)} {accuracy} % ({networks})')
    return ', '.join(parts)


def accuracy_text(mean: float, std: float, num: int, digits: int = 2) -> str:
    """Return 'mean ± std' of num networks, in %; of one network the mean: it has no deviation."""
    return f'{mean:.{digits}f}' + (f' ± {std:.{digits}f}' if num > 1 else '')


def of_kernel(accs: list[float] | None) -> str:
    """Return what follows a summary where kernel regression has accuracies, too."""
    shown = ', '.join(f'{100 * acc:.2f}' for acc in accs or ())
    return f'; kernel regression, set by set: {shown} %' if shown else ''


def of_flag(name: str):
    """Return the kind of a flag's value: what the flag makes of a typed word."""
    read = FLAGS[name].type
    if read is bool:
        return switch
    of_words = read in (str, typed_word, strategy)
    return word if of_words else lambda value: _is_read(read, value)


def _is_read(read, value):
    try:
        return number(value) and read(str(value)) == value
    except (ValueError, argparse.ArgumentTypeError):
        return False


# What is read of the arguments in a file; another project may store more, and less.
CHECKED = *flags_of_kinds('data', 'experiment', 'clusters', 'evaluation'), 'seed', 'precision'
TYPED = {f'{name}?': of_flag(name) for name in CHECKED} | {
    'protocol?': lambda value: value in FLAGS['protocol'].choices,
    'synset?': word,
    'data_hash?': word,
    'clusters_hash?': word,
}
OWN = TYPED | {'changed?': TYPED}
ARGS = OWN | {'made_by?': OWN}
KIND = {
    'data': [image_set],
    'stored?': [image_set],
    'factor?': count,
    'accs_all_exps?': {str: [share]},
    'kernel_accs?': [share],
    'args?': lambda value: plain(value) and fault(value, ARGS) is None,
    'class_names?': [word],
    'zca?': number,
    'viewable?': [image_tensor],
    'mean?': [lambda value: number(value) and abs(value) < LARGE],
    'std?': [lambda value: number(value) and 1 / LARGE < value < LARGE],
}


def load_result(path: Path) -> dict:
    """Load a result file, ours or another project's; raise UserError for another format."""
    result = in_our_layout(path)
    refuse(path, [text for pair in result['data'] for text in faults_of(*pair)])
    args = result.get('args')
    if isinstance(args, dict) and 'data_hash' not in args:
        # Another project's: a word of ours may mean something else there, and is left out then.
        result['args'] = {
            key: value
            for key, value in args.items()
            if plain(value) and fault({key: value}, ARGS) is None
        }
    check(path, 'result file', result, KIND)
    result = {key: value for key, value in result.items() if value is not None}
    result = {'args': {}, 'accs_all_exps': {}} | result
    result['accs_all_exps'] = {net: accs for net, accs in result['accs_all_exps'].items() if accs}
    shapes = {images.shape[1:] for images, _ in result['data']}
    channels = {len(result[key]) for key in ('mean', 'std') if key in result}
    if len(shapes) > 1 or channels - {shape[0] for shape in shapes}:
        raise UserError(f'{path}: sets, mean and std are of images of different shapes')
    shown = result.get('viewable', [images for images, _ in result['data']])
    if [part.shape for part in shown] != [images.shape for images, _ in result['data']]:
        raise UserError(f'{path}: its viewable images are not those of its sets')
    # Classes that another project stored as floating numbers; soft labels stay.
    for key in {'data', 'stored'} & result.keys():
        result[key] = [
            [images, labels.long() if labels.ndim == 1 else labels]
            for images, labels in result[key]
        ]
    return result


def method_of(args: dict) -> str:
    """Return what made a set: a method, `random`, `full`, or the name of the evaluated file."""
    name = args.get('synset') or ''
    # A file is told from others, and from the words random and full, by its folder and ending.
    return args.get('method') or (name if name in REAL else '/'.join(Path(name).parts[-2:]))


def label_of(args: dict) -> str:
    """Return what tables and figures call a run, from the arguments in its result file."""
    made_by = args.get('made_by') or {}  # of a set that was evaluated again: the run that made it
    args = made_by if made_by.get('method') else args
    draw = args.get('draw')
    name = method_of(args) or 'set'
    label = spelled(REAL.get(name, name), draw)
    changed = args.get('changed')
    for name, flag in FLAGS.items():
        plain = (flag.default, None) if name != 'draw' else (None, 'cluster', 'uniform')
        # What is the default of the method, its name says: DREAM draws representative images.
        own = changed is not None and name not in changed
        if flag.label and args.get(name) not in plain and not own:
            label += f'{flag.label}{args[name]}'
    return label


def experiment_of(args: dict) -> dict:
    """Return {flag: value} of what makes a run another experiment, but for what its label says."""
    names = flags_of_kinds('data', 'experiment', 'clusters')
    return {name: args[name] for name in names if name in args and name not in IN_LABEL}


def differing(settings: dict, others: list[dict]) -> str:
    """Return ', flag value' for each of the settings that not all others share."""
    return ''.join(
        f', {FLAGS[key].short or key} {value}'
        for key, value in settings.items()
        if any(other.get(key) != value for other in others)
    )
