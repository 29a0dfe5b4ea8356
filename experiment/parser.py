"""The parser of all scripts: help from the table of flags, and errors that are one line."""

import argparse
import difflib

from experiment.flags import FLAGS, KINDS
from utils import UserError


class Parser(argparse.ArgumentParser):
    """An ArgumentParser for flags of the table; its errors are UserErrors.

    doc: the script's docstring; names: its flags; choices: {flag: what may be typed}, where other
    modules decide; defaults: {flag: text of its default}; several: flags that take a list.
    A flag that is not typed is not in what parse_args returns.
    """

    def __init__(self, doc: str, names=(), choices=None, defaults=None, several=()):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=formatter, allow_abbrev=False)
        self.names = tuple(name for name in FLAGS if name in names)
        choices, defaults = choices or {}, defaults or {}
        for kind, meaning in KINDS.items():
            group = self.add_argument_group(f'{kind}: {meaning}')
            for name in self.names:
                if FLAGS[name].kind == kind:
                    text = defaults.get(name, default_text(FLAGS[name].default))
                    many = '+' if name in several else None
                    _add(group, name, choices.get(name, FLAGS[name].choices), text, many)

    def typed(self, argv: list[str]) -> set[str]:
        """Return the names of the flags that argv holds."""
        blank = argparse.Namespace(**{action.dest: None for action in self._actions})
        return {
            name for name, value in vars(self.parse_args(argv, blank)).items() if value is not None
        }

    def error(self, message):
        """Raise UserError in place of argparse's two lines; name what was meant by a flag."""
        known = {name.casefold(): name for name in self._option_string_actions}
        flags = message.split() if message.startswith('unrecognized') else []
        meant = []
        for word in (word for word in flags if word.startswith('--')):
            # --iteration is --Iteration, and --num-eval is --num_eval
            own = '--' + word[2:].partition('=')[0].replace('-', '_').casefold()
            meant += [known[name] for name in difflib.get_close_matches(own, known, 1, 0.8)]
        raise UserError(f'{message}; did you mean {", ".join(meant)}?' if meant else message)


def default_text(value) -> str:
    """Return how help names a default: the value, or what the function that derives it says."""
    return '' if value is None else value.__doc__ if callable(value) else str(value)


def _add(group, name, choices, text, many):
    """Add a flag of the table to a group of a parser."""
    flag, options = FLAGS[name], {'default': argparse.SUPPRESS, 'help': FLAGS[name].help}
    if choices and flag.choices is None:  # argparse would print them in braces, twice
        options['help'] += f': {", ".join(choices)}'
    if text:
        options['help'] += f' (default: {text})'
    options['help'] = options['help'].replace('%', '%%')
    if flag.type is bool:
        off = flag.default is False
        options['action'] = 'store_true' if off else argparse.BooleanOptionalAction
    else:
        metavar = flag.metavar or (name.upper() if flag.choices is None else None)
        options |= {'type': flag.load or flag.type, 'choices': choices, 'metavar': metavar}
        options |= {'nargs': many or flag.nargs, 'const': flag.const}
    group.add_argument(f'--{name}', **options)
