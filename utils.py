"""What everything shares: the user's mistake, random streams, tables as text, how scripts end."""

import functools
import os
import sys
import time
import warnings
import zlib

import numpy as np
import torch

# What torch says of devices and hosts.
NO_MEMORY = ('out of memory', 'allocate memory', 'enough memory')


class UserError(Exception):
    """A flag, file, data set or device that cannot work: its value, the rule and the way out."""


class Rng:
    """Two seeded generators of one random stream.

    .generator: on the device, for tensors; .host_generator: on the CPU, for choices that Python
    code branches on. keys (numbers or words) name the stream. The same keys give the same draws,
    other keys independent ones.
    """

    def __init__(self, device: str | torch.device, *keys):
        entropy = [zlib.crc32(str(key).encode()) for key in keys]
        seeds = [int(word) for word in np.random.SeedSequence(entropy).generate_state(2)]
        self.generator = torch.Generator(device).manual_seed(seeds[0])
        self.host_generator = torch.Generator().manual_seed(seeds[1])

    def state_dict(self) -> dict:
        """Return the state of both generators."""
        return {
            'generator': self.generator.get_state(),
            'host_generator': self.host_generator.get_state(),
        }

    def load_state_dict(self, state: dict) -> None:
        """Draw from here on what state_dict()'s Rng would have drawn."""
        self.generator.set_state(state['generator'])
        self.host_generator.set_state(state['host_generator'])


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Return lines of cells as text in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def silence() -> None:
    """Drop a warning that torch's module of forward derivatives gives of itself when first used."""
    warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)


def _report(error: str) -> None:
    """Print the one line of a mistake."""
    # Of several processes that torchrun started, most meet the same mistake: the first says it.
    # The others wait, and are ended meanwhile, unless the mistake is theirs alone.
    rank = int(os.environ.get('RANK', 0))
    if rank:
        time.sleep(3)
    print('error:', f'rank {rank}: {error}' if rank else error, file=sys.stderr, flush=True)


def script(main):
    """Wrap main(argv=None): a user's mistake ends in one line and exit code 2, Ctrl-C in 130."""

    @functools.wraps(main)
    def wrapped(argv=None):
        silence()
        try:
            return main(sys.argv[1:] if argv is None else list(argv))
        except UserError as error:
            _report(' '.join(str(error).split()))
            raise SystemExit(2) from None
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not any(
                words in str(error) for words in NO_MEMORY
            ):
                raise  # a bug of ours, not the user's mistake
            reason = str(error).partition('\n')[0]
            _report(f'{reason}; what was saved is kept: use a smaller --ipc')
            raise SystemExit(2) from None
        except KeyboardInterrupt:
            print('interrupted', file=sys.stderr)
            raise SystemExit(130) from None

    return wrapped
