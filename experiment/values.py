"""From a typed word to a value: numbers in their range, names and paths that are not empty."""

import argparse
from pathlib import Path

# float32 ends at ten times this: Adam divides a rate by 0.1 before it meets a tensor.
MOST_RATE = 3.4e37
MOST = 2**31 - 1
AUTO = 'auto'


def number(kind: type, low: float, high: float, ends: str = '[]'):
    """Return an argparse type: a number of low to high; an end with a round bracket is left out."""
    above = 'above' if ends[0] == '(' else 'at least'
    below = 'below' if ends[1] == ')' else 'at most'
    article = 'an integer' if kind is int else 'a number'
    excluded = {end for end, bracket in ((low, ends[0]), (high, ends[1])) if bracket in '()'}

    def convert(text):
        try:
            value = kind(text)
        except ValueError:
            value = None
        # One comparison that is false for what is no number, too.
        if value is None or not low <= value <= high or value in excluded:
            rule = f'{article} {above} {low} and {below} {high}'
            raise argparse.ArgumentTypeError(f'{text!r} must be {rule}')
        return value

    return convert


positive, natural = number(int, 1, MOST), number(int, 0, MOST)
# Of what stands in memory at once: images, loops of an iteration, networks.
several, loops = number(int, 1, 100_000), number(int, 0, 100_000)
pixels = number(int, 1, 1024)
rate, share = number(float, 0, MOST_RATE, '(]'), number(float, 0, 1, '[)')
amount = number(float, 0, MOST_RATE)


def or_auto(convert):
    """Return an argparse type: the word auto, or what convert makes of a word."""
    return lambda text: text if text == AUTO else convert(text)


def word(text: str) -> str:
    """Convert a typed name or path: any but the empty one, which an unset variable leaves."""
    if not text:
        raise argparse.ArgumentTypeError('the word is empty; type a name or a path')
    return text


def place(text: str) -> Path:
    """Convert a typed path."""
    return Path(word(text))


def strategy(text: str) -> str:
    """Convert a typed --dsa_strategy: none in any spelling is 'None'."""
    return 'None' if text.lower() in ('none', '') else text
