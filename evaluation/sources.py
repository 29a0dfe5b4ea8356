"""What files of sets say of the data that they are of, before any data are loaded."""

from pathlib import Path

from dataset.readers import DATASETS
from experiment.flags import FLAGS
from experiment.layouts import labels_beside
from experiment.result import REAL, load_result
from networks import NETWORKS
from utils import UserError, plural

OF_THE_DATA = 'dataset', 'im_size', 'resize', 'zca'


def grouped(synsets: list[str], typed: set[str]) -> dict[tuple[str, ...], list[str]]:
    """Return {flags as words: the sets that they are for}, a group for each data set.

    The words are flags that a file was made with and that were not typed. What names no data goes
    with the first file; if that names none either, it is said at once which data are assumed. The
    network is the one of the first file. Evaluations of other files are left out.

    Raises UserError if the assumed data cannot be it, or nothing is left, or no file can be read;
    of several it leaves those that cannot to who reads them next.
    """
    results, faults = {}, []
    for synset in without_labels(synsets):
        try:
            result = {'args': {}} if synset in REAL else load_result(Path(synset))
        except UserError as error:
            result = {'args': {}}
            faults.append(error)
        if result['args'].get('made_by') is not None:
            print(f'{synset} is the evaluation of another file: left out')
        else:
            results[synset] = result
    if not results:
        raise UserError('--synset: every file is an evaluation; name the result file of a run')
    lead, model = [], []
    first = next((synset for synset, result in results.items() if 'data' in result), None)
    if faults and not first:
        raise faults[0]
    if first:
        args = results[first]['args']
        lead, model = words_of(args, OF_THE_DATA, typed), words_of(args, ('model',), typed)
        if 'dataset' not in typed and '--dataset' not in lead:
            assume(first, results[first]['data'][0][0].shape[1])
    groups = {}
    for synset, result in results.items():
        words = words_of(result['args'], OF_THE_DATA, typed) or lead
        groups.setdefault((*words, *model), []).append(synset)
    for words in filter(None, groups):
        print('as the file was made:', *words)
    return groups


def words_of(args: dict, flags: tuple[str, ...], typed: set[str]) -> list[str]:
    """Return those of the flags, as words, that a file was made with and that were not typed."""
    words = []
    for flag in flags:
        value = args.get(flag)
        known = flag != 'model' or value in NETWORKS  # one's own has no name that can be typed
        # Of another project only the name of a data set is sure to mean the same.
        sure = 'data_hash' in args or (flag == 'dataset' and value in DATASETS)
        if sure and value not in (None, False) and flag not in typed and known:
            words += [f'--{flag}'] if value is True else [f'--{flag}', str(value)]
    return words


def without_labels(synsets: list[str]) -> list[str]:
    """Return the files without those that hold the labels of others among them."""
    labels = {labels_beside(Path(synset)) for synset in synsets}
    return [synset for synset in synsets if Path(synset) not in labels]


def assume(path: str, channels: int) -> None:
    """Say which data set a file that names none is evaluated on, before that is loaded."""
    assumed, said = FLAGS['dataset'].default, f'{path} does not say what it is of'
    if channels != len(DATASETS[assumed].mean):
        raise UserError(f'{said}, and has images of {plural(channels, "channel")}: type --dataset')
    print(f'{said}: --dataset {assumed} is assumed', flush=True)
