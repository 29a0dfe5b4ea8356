"""What files of sets say of the data that they are of, before any data are loaded."""

from pathlib import Path
from typing import NamedTuple

import torch

from dataset.readers import DATASETS
from evaluation.protocol import protocol_of
from experiment.flags import FLAGS
from experiment.layouts import content_hash, without_labels
from experiment.result import REAL, experiment_of, label_of, load_result
from networks import NETWORKS
from utils import UserError, plural

OF_THE_DATA = 'dataset', 'im_size', 'resize', 'zca'


class Read(NamedTuple):
    """A file of sets: what load_result returns of it, and the hash of its content."""

    result: dict
    digest: str


def read_file(synset: str) -> Read:
    """Read a file of sets; raise UserError for another format."""
    return Read(load_result(Path(synset)), content_hash(Path(synset)))


def grouped(synsets: list[str], typed: set[str]) -> dict[tuple[str, ...], dict[str, Read | None]]:
    """Return {flags as words: {set that they are for: its file}}, a group for each data set.

    The words are flags that a file was made with and that were not typed. What names no data goes
    with the first file; if that names none either, it is said at once which data are assumed. The
    network is the one of the first file. Evaluations of other files, copies, and files whose sets
    another file of the experiment holds, are left out.

    Raises UserError if the assumed data cannot be it, or nothing is left, or no file can be read;
    of several it leaves those that cannot to who reads them next.
    """
    found, faults = _read_all(synsets)
    for part, whole in parts_of_others(found).items():
        print(f'{part}: its sets are in {whole}, too: left out')
        del found[part]
    if not found:
        raise UserError('--synset: every file is an evaluation; name the result file of a run')
    lead, model = [], []
    first = next((synset for synset, (_, channels, _) in found.items() if channels), None)
    if faults and not first:
        raise faults[0]
    if first:
        args, channels, _ = found[first]
        lead, model = words_of(args, OF_THE_DATA, typed), words_of(args, ('model',), typed)
        if 'dataset' not in typed and '--dataset' not in lead:
            assume(first, channels)
    groups = {}
    for synset, (args, _, file) in found.items():
        words = words_of(args, OF_THE_DATA, typed) if names_data(args) else lead
        groups.setdefault((*words, *model), {})[synset] = file
    for words in filter(None, groups):
        print('as the file was made:', *words)
    return groups


def _read_all(synsets: list[str]) -> tuple[dict[str, tuple], list[UserError]]:
    """Return {set: (arguments, channels, file)} of what is no copy or evaluation, and mistakes."""
    found, copies, faults = {}, {}, []
    for synset in without_labels(synsets):
        args, channels, file = {}, None, None
        try:
            if synset not in REAL:
                file = read_file(synset)
                args, channels = file.result['args'], file.result['data'][0][0].shape[1]
                copied = copies.setdefault(file.digest, synset)
                if copied != synset:
                    print(f'{synset} is a copy of {copied}: left out')
                    continue
        except UserError as error:
            faults.append(error)
        if args.get('made_by') is not None:
            print(f'{synset} is the evaluation of another file: left out')
        else:
            found[synset] = args, channels, file
    return found, faults


def parts_of_others(found: dict[str, tuple]) -> dict[str, str]:
    """Return {file: a file of the same experiment that begins with its sets}, as of longer runs."""
    parts, kept = {}, []
    # The largest first, so that a part never stands for the whole.
    files = [(synset, file.result) for synset, (_, _, file) in found.items() if file]
    for synset, result in sorted(files, key=lambda pair: -len(pair[1]['data'])):
        whole = next((name for name, other in kept if begins_with(other, result)), None)
        if whole is None:
            kept.append((synset, result))
        else:
            parts[synset] = whole
    return parts


def begins_with(whole: dict, part: dict) -> bool:
    """Tell whether a run of ours holds all sets of another of its experiment, as its first ones."""
    ours = all('data_hash' in result['args'] for result in (whole, part))
    return (
        ours
        and _identity(whole['args']) == _identity(part['args'])
        and all(
            torch.equal(one, other)
            for pairs in zip(whole['data'], part['data'], strict=False)
            for one, other in zip(*pairs, strict=True)
        )
    )


def _identity(args):
    # What two runs agree in if they are of one experiment, and are evaluated alike.
    return label_of(args), experiment_of(args), protocol_of(args), args.get('dataset')


def names_data(args: dict) -> bool:
    """Tell whether a file names its data, and means the same as here."""
    # Of another project only the name of a known data set is sure to mean the same.
    return 'data_hash' in args or args.get('dataset') in DATASETS


def words_of(args: dict, flags: tuple[str, ...], typed: set[str]) -> list[str]:
    """Return those of the flags, as words, that a file was made with and that were not typed."""
    words = []
    for flag in flags:
        value = args.get(flag)
        known = flag != 'model' or value in NETWORKS  # one's own has no name that can be typed
        sure = 'data_hash' in args or (flag == 'dataset' and names_data(args))
        if sure and value not in (None, False) and flag not in typed and known:
            words += [f'--{flag}'] if value is True else [f'--{flag}', str(value)]
    return words


def assume(path: str, channels: int) -> None:
    """Say which data set a file that names none is evaluated on, before that is loaded."""
    assumed, said = FLAGS['dataset'].default, f'{path} does not say what it is of'
    if channels != len(DATASETS[assumed].mean):
        raise UserError(f'{said}, and has images of {plural(channels, "channel")}: type --dataset')
    print(f'{said}: --dataset {assumed} is assumed', flush=True)
