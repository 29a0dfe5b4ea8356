"""The shelf: what scripts condense with, which flags each takes, and how it is spelled."""

import inspect
from collections.abc import Callable
from typing import NamedTuple

from experiment.flags import EVERY_RUN, FLAGS
from experiment.values import AUTO
from utils import UserError

FOLLOWING = 'representative'  # the draw that follows the network of a method
UNCLUSTERED = 'uniform', 'equal', FOLLOWING  # draws that make no batch sampling of a method


class Shelf(NamedTuple):
    """What scripts condense with: methods and samplers by name, and who takes which flags.

    methods: {name: class}; tables: {flag: table whose keys may be typed}; sampler: the function
    whose keywords are the flags of cluster batches; recipes: {recipe: {method: {ipc, or None for
    every ipc: {flag: value, or function of all flags}}}}.
    """

    methods: dict[str, type]
    tables: dict[str, dict]
    sampler: Callable
    recipes: dict[str, dict[str, dict]]


def keywords_of(function) -> set[str]:
    """Return the keywords without a default of a class or function: its flags, but for rng."""
    return {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
    } - {'rng'}


def own_flags(method: type) -> set[str]:
    """Return the flags that a method takes: keywords, DEFAULTS, and iterations if it has a step."""
    names = keywords_of(method) | getattr(method, 'DEFAULTS', {}).keys()
    names |= {'Iteration', 'eval_every'} if hasattr(method, 'step') else set()
    # Who sees batches of real images can see them through any sampler.
    names |= {'draw'} if 'batch_real' in names else set()
    unknown = sorted(names - FLAGS.keys())
    if unknown:
        raise UserError(
            f'{method.__name__} takes {unknown[0]!r}, which is no flag: add a row to FLAGS in '
            'experiment/flags.py, or give the keyword a default'
        )
    return names


def spelled(method: str, draw: str | None) -> str:
    """Return what a method on batches of this draw is called: BS, BS-DSA, … on clusters."""
    if draw is None or draw in UNCLUSTERED:
        return method
    return 'BS' if method == 'DC' else f'BS-{method}'


def spellings(shelf: Shelf) -> dict[str, tuple[str, str | None]]:
    """Return {what may be typed: (method, draw)}; the draw is None where the script decides."""
    batched = [name for name, method in shelf.methods.items() if 'draw' in own_flags(method)]
    names = {name: (name, None) for name in shelf.methods}
    return names | {spelled(name, 'cluster'): (name, 'cluster') for name in batched}


def taken_flags(shelf: Shelf, method: str, draw: str | None) -> set[str]:
    """Return the flags that a method takes with batches of this draw, every run's included."""
    names = {*EVERY_RUN, 'method', 'recipe', *own_flags(shelf.methods[method])}
    return names | (keywords_of(shelf.sampler) if needs_clusters(draw) else set())


def recipe_settings(typed: dict, shelf: Shelf, method: str) -> dict:
    """Return {flag: value} of the recipe that was typed, {} if there is none.

    Raises UserError if there is no such recipe for the method or for the images per class.
    """
    recipe, ipc = typed.get('recipe'), typed.get('ipc', FLAGS['ipc'].default)
    if recipe is None:
        return {}
    by_ipc = shelf.recipes[recipe].get(method)
    if by_ipc is None:
        names = ', '.join(shelf.recipes[recipe])
        raise UserError(f'--recipe {recipe} is none for --method {method}; it is for {names}')
    if ipc not in by_ipc and None not in by_ipc:
        known = '; '.join(
            f'{name} at ipc {", ".join(map(str, numbers))}'
            for name, numbers in shelf.recipes[recipe].items()
        )
        raise UserError(
            f'--recipe {recipe} has no settings for {method} at ipc {ipc}; it has for {known}: '
            'use one of these, or type the flags'
        )
    return by_ipc.get(ipc, by_ipc.get(None))


def fits(recipe: str, shelf: Shelf) -> str:
    """Return what a recipe is for, as help says it: 'fast for ipc 1'."""
    ipcs = {str(ipc) for by_ipc in shelf.recipes[recipe].values() for ipc in by_ipc}
    numbers = 'every ipc' if 'None' in ipcs else f'ipc {", ".join(sorted(ipcs, key=int))}'
    return f'{recipe} for {numbers}'


def automatic(typed: dict, shelf: Shelf, method: str) -> dict:
    """Return {flag: the function that derives it} of the loops that were typed as auto.

    Raises UserError for a method that derives none.
    """
    names = [name for name in ('outer_loop', 'inner_loop') if typed.get(name) == AUTO]
    known = getattr(shelf.methods[method], 'AUTO', {})
    for name in names:
        if name not in known:
            raise UserError(f'--{name} {AUTO}: --method {method} has no rule for it; type a number')
    return {name: known[name] for name in names}


def needs_clusters(draw: str | None) -> bool:
    """Tell whether a draw needs cluster files."""
    return draw not in (None, 'uniform', FOLLOWING)


def clustered_draws(shelf: Shelf) -> list[str]:
    """Return the draws that need clusters."""
    return [draw for draw in shelf.tables['draw'] if needs_clusters(draw)]
