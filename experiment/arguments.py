"""From typed words to frozen arguments.

Spellings are resolved (BS is DC with cluster batches), flags that the method does not take are
refused, and what was not typed is derived. A typed flag always wins.
"""

import argparse
import inspect
import sys
from pathlib import Path

from dataset.names import MOST, name_of, shortened
from experiment.flags import AGREEING, EVERY_RUN, FLAGS, POINTLESS, REPLACES, flags_of_kinds
from experiment.parser import Parser, default_text
from experiment.shelf import (
    FOLLOWING,
    UNCLUSTERED,
    Shelf,
    automatic,
    clustered_draws,
    fits,
    keywords_of,
    own_flags,
    recipe_settings,
    spelled,
    spellings,
    taken_flags,
)
from utils import UserError

# A run's name begins with these; its precision depends on the machine, so it is always named.
NAMED = 'method', 'dataset', 'model', 'ipc', 'seed', 'precision'


class Arguments(argparse.Namespace):
    """Parsed and derived arguments; they cannot be changed."""

    def __init__(self, **values):
        self.__dict__.update(values)

    def __setattr__(self, name, value):
        raise AttributeError(f'arguments are frozen after parsing: {name}')

    def replaced(self, **changes) -> 'Arguments':
        """Return arguments with other values."""
        return Arguments(**vars(self) | changes)


def flags_of(function, args: Arguments) -> dict:
    """Return the arguments that are flags of function; its other keywords keep their defaults."""
    names = keywords_of(function) | getattr(function, 'DEFAULTS', {}).keys()
    names &= inspect.signature(function).parameters.keys() & vars(args).keys()
    return {name: getattr(args, name) for name in names}


def num_images(args: dict) -> int:
    """Return how many images of a class a network is trained on: of a stored one, its tiles."""
    return args['ipc'] * (args.get('factor') or 1) ** 2


def condensing_parser(doc: str, shelf: Shelf) -> Parser:
    """Return the parser of the flags that any method or sampler of the shelf takes."""
    choices = shelf.tables | {'method': spellings(shelf), 'recipe': shelf.recipes}
    names, texts = {*EVERY_RUN, 'method', 'recipe', *keywords_of(shelf.sampler)}, {}
    for name, method in shelf.methods.items():
        names |= own_flags(method)
        for flag in {*EVERY_RUN, *own_flags(method)}:
            text = default_text(getattr(method, 'DEFAULTS', {}).get(flag, FLAGS[flag].default))
            texts.setdefault(flag, {}).setdefault(text, []).append(name)
    shared = {flag for flag, by_text in texts.items() if len(by_text) == 1}
    defaults = {
        flag: '; '.join(
            text if flag in shared else f'{text} for {", ".join(methods)}'
            for text, methods in by_text.items()
            if text
        )
        for flag, by_text in texts.items()
    }
    # A sampler's flag has one default; which draw is the default depends on the script.
    defaults['draw'] = 'uniform for main.py, cluster for main_BS.py'
    defaults['recipe'] = f'none; {"; ".join(fits(name, shelf) for name in shelf.recipes)}'
    return Parser(doc, names, choices, defaults)


def parse_condensing(doc: str, argv: list[str], shelf: Shelf, draw: str) -> Arguments:
    """Parse the flags of main.py and main_BS.py.

    doc: the script's docstring; draw: which batches it uses if nothing else is typed. Beside the
    flags the result has `command`, `changed` ({flag: value} that differ from the method's defaults)
    and `run_name`. Raises UserError for values that cannot work.
    """
    typed = vars(condensing_parser(doc, shelf).parse_args(argv))
    method, drawn = resolved(typed, shelf, draw)
    _refuse_useless(typed, shelf, method, drawn)
    # Whichever script: a run is called BS if it has cluster batches, and its name says which.
    cls = shelf.methods[method]
    own = getattr(cls, 'DEFAULTS', {})
    plain_draw = own.get('draw', 'uniform') if drawn in UNCLUSTERED else 'cluster'
    defaults = own | {'draw': plain_draw}
    names = taken_flags(shelf, method, drawn)
    own_words = typed | automatic(typed, shelf, method) | {'method': method, 'draw': drawn}
    recipe = recipe_settings(typed, shelf, method)
    values = derived(names, recipe | own_words, defaults)
    for name, other in pointless(typed, values).items():
        raise UserError(f'--{name} {typed[name]} does nothing with --{other} {values[other]}')
    # Nor is a run named by what its recipe says in vain.
    recipe = {name: recipe[name] for name in recipe.keys() - pointless(recipe, values).keys()}
    values = derived(names, recipe | own_words, defaults)
    if values['protocol'] == 'idc' and 'batch_train' in typed.keys() - own_flags(cls):
        raise UserError(
            f'--batch_train {typed["batch_train"]} does nothing with --protocol idc, which has '
            'batches of its own'
        )
    # The protocol that fits the method anyway makes no other run.
    usual = 'dc' if values.get('dsa_strategy', 'None') == 'None' else 'dsa'
    if values['protocol'] == usual and 'protocol' not in own:
        values['protocol'] = None
    changed = changed_flags(values, defaults)
    name = run_name(spelled(method, drawn), values, changed)
    words = ['main.py' if draw == 'uniform' else 'main_BS.py', *argv]  # a benchmark runs it, too
    return Arguments(**values, command=words, changed=changed, run_name=name)


def resolved(typed: dict, shelf: Shelf, draw: str) -> tuple[str, str | None]:
    """Return method and draw that are meant; the draw is None for a method that sees no batches.

    draw: the draw of the script. Raises UserError if method and draw contradict each other.
    """
    name = typed.get('method', FLAGS['method'].default)
    method, own_draw = spellings(shelf)[name]
    if 'draw' not in own_flags(shelf.methods[method]):
        if draw != 'uniform' and 'draw' not in typed:
            raise UserError(
                f'--method {name} sees no batches, so it cannot see cluster batches; use main.py'
            )
        return method, None
    own = getattr(shelf.methods[method], 'DEFAULTS', {}).get('draw', draw)
    drawn = typed.get('draw', own_draw or (own if draw == 'uniform' else draw))
    if own_draw and drawn in UNCLUSTERED:
        raise UserError(
            f'--method {name} means cluster batches, --draw {drawn} does not; use --method {method}'
        )
    if drawn == FOLLOWING and not hasattr(shelf.methods[method], 'SHOWS_NETWORK'):
        able = [key for key, other in shelf.methods.items() if hasattr(other, 'SHOWS_NETWORK')]
        raise UserError(
            f'--draw {drawn} follows the network of a method step by step, which --method {name} '
            f'does not show; use it with {", ".join(able)}'
        )
    return method, drawn


def _refuse_useless(typed: dict, shelf: Shelf, method: str, draw: str | None) -> None:
    """Raise UserError for a typed flag that the method does not take with batches of this draw."""
    taken = taken_flags(shelf, method, draw)
    # A place makes no other run, so it may be given to every method alike.
    for flag in sorted(typed.keys() - taken - {*flags_of_kinds('place')}):
        takers = {name: own_flags(other) for name, other in shelf.methods.items()}
        if flag in keywords_of(shelf.sampler):
            if draw is not None:
                draws = ', '.join(clustered_draws(shelf))
                raise UserError(
                    f'--{flag} does nothing with --draw {draw}: it belongs to batches from '
                    f'clusters; use main_BS.py, or --draw {draws}'
                )
            takers |= {name: {flag} for name, own in takers.items() if 'draw' in own}
        names = ', '.join(name for name, own in takers.items() if flag in own)
        raise UserError(f'--{flag} does nothing for --method {method}; use it with {names}')


def parse(parser: Parser, argv: list[str], **defaults) -> Arguments:
    """Parse the flags of a script without methods; defaults: where they differ from the table's.

    Beside the flags the result has `command` and `changed`.
    """
    typed = vars(parser.parse_args(argv))
    values = derived(set(parser.names), typed, defaults)
    own = {name: value for name, value in typed.items() if name not in values}
    changed = changed_flags(values, defaults)
    return Arguments(**values, **own, command=command(argv), changed=changed)


def derived(names: set[str], typed: dict, defaults: dict) -> dict:
    """Return the values of the flags `names`: typed, else the method's default, else the table's.

    Raises UserError for a flag that nobody has a value for.
    """
    values = {
        name: typed[name] if name in typed else defaults.get(name, flag.default)
        for name, flag in FLAGS.items()
        if name in names
    }
    for flag, useless in REPLACES.items():
        for name in useless if values.get(flag) is not None else ():
            if name in typed:
                raise UserError(f'--{name} does nothing with --{flag} {values[flag]}')
            values |= {name: None} if name in values else {}
    for name, value in values.items():  # plain values come first: functions look at them
        values[name] = value(values) if callable(value) else value
        if values[name] is None and not (FLAGS[name].optional or is_replaced(name, values)):
            raise UserError(f'--method {values["method"]} has no default for --{name}: type it')
    return values


def pointless(given: dict, values: dict) -> dict[str, str]:
    """Return {flag: another flag that makes it useless} of given values that are not defaults."""
    return {
        name: other
        for name, other, value in POINTLESS
        if given.get(name, FLAGS[name].default) != FLAGS[name].default
        and values.get(name) not in AGREEING.get((name, other), ())
        and values.get(other) == value
    }


def is_replaced(name: str, values: dict) -> bool:
    """Tell whether another flag makes this one useless."""
    return any(name in REPLACES[flag] and values.get(flag) is not None for flag in REPLACES)


def changed_flags(values: dict, defaults: dict) -> dict:
    """Return {flag: value} of what differs from the defaults, but for places and a name's parts."""
    changed = {}
    for name in values.keys() - {*NAMED, *flags_of_kinds('place', 'shorthand')}:
        plain = defaults.get(name, FLAGS[name].default)
        if callable(plain):
            try:
                plain = plain(values)
            except UserError:  # nothing can be derived here, so it was typed
                plain = None
        if values[name] != plain and not is_replaced(name, values):
            changed[name] = values[name]
    return dict(sorted(changed.items()))


def run_name(head: str, values: dict, changed: dict, ipc: bool = True) -> str:
    """Name a run after what it is and every flag that makes it another one."""
    stem = [head, name_of(values['dataset']), values['model'], *[f'{values["ipc"]}ipc'] * ipc]
    stem += [f'seed{values["seed"]}', values['precision']]
    name = '_'.join(
        [*stem, *(f'{key}={value}'.replace('/', '-') for key, value in changed.items())]
    )
    return shortened(name, MOST)


def command(argv: list[str]) -> list[str]:
    """Return the words that were typed."""
    return [Path(sys.argv[0]).name, *argv]
