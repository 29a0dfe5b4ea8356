"""What everything shares: the user's mistake, random streams, tables as text, how scripts end."""

import codecs
import contextlib
import functools
import os
import signal
import sys
import threading
import time
import traceback
import unicodedata
import warnings
import zlib

import numpy as np
import torch

# How the module is called that a user's own network is run as.
OWN_NETWORK = 'own_network_'
# What torch says of devices and hosts.
NO_MEMORY = ('out of memory', 'allocate memory', 'enough memory')
BUG = 'This is a bug of the program, not your mistake. Please report it:'


class UserError(Exception):
    """A flag, file, data set or device that cannot work: its value, the rule and the way out."""


class RankLost(UserError):
    """Another process of this run has ended. is_news(): whether the user was not told yet."""

    def __init__(self, text: str, is_news):
        super().__init__(text)
        self.is_news = is_news


class Interrupted(KeyboardInterrupt):
    """A signal asks to stop: Interrupted(number)."""


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


def printable(text: object) -> str:
    """Return text without characters that would steer a terminal or break a line."""
    return ''.join('\ufffd' if unicodedata.category(c) == 'Cc' else c for c in str(text))


def aligned(lines: list[tuple[str, ...]]) -> str:
    """Return lines of cells as text in aligned columns."""
    lines = [tuple(map(printable, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def plural(num: int, noun: str) -> str:
    """Return a number and what it counts: 1 network, 2 networks."""
    return f'{num} {noun}{"" if num == 1 else "es" if noun.endswith("s") else "s"}'


def silence() -> None:
    """Drop warnings that no user can act on."""
    # Of odd EXIF and large photos; of torch's own module; of clusters that an image will fill.
    warnings.filterwarnings('ignore', module='PIL')
    warnings.filterwarnings('ignore', '`torch.jit.script` is deprecated', FutureWarning)
    warnings.filterwarnings('ignore', 'Number of distinct clusters')


# What a terminal that is not UTF-8 shows in place of our few signs.
ASCII = {'±': '+-', '–': '-', '−': '-', '…': '...', '²': '^2', '’': "'"}
codecs.register_error(
    'readable', lambda e: (''.join(ASCII.get(c, '?') for c in e.object[e.start : e.end]), e.end)
)


class Shown:
    """An output stream that cannot fail: what nobody can see any more is dropped.

    stream: what it writes to; None if it was closed before the script began.
    """

    def __init__(self, stream):
        self.stream = stream or open(os.devnull, 'w')  # noqa: SIM115 (until the process ends)

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write text, with other signs for those that the stream does not know."""
        encoding = getattr(self.stream, 'encoding', None) or 'utf-8'
        with self._dropping():
            self.stream.write(text.encode(encoding, 'readable').decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        with self._dropping():
            self.stream.flush()

    @contextlib.contextmanager
    def _dropping(self):
        try:
            yield
        except (OSError, ValueError):  # a reader that ended, a full device, a closed file
            nowhere = open(os.devnull, 'w')  # noqa: SIM115 (until the process ends)
            # Python would write what is still buffered when it ends, and fail then.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(nowhere.fileno(), self.stream.fileno())
            self.stream = nowhere


@contextlib.contextmanager
def shown_output():
    """Let no output stream fail in this context."""
    plain = sys.stdout, sys.stderr
    shown = [Shown(stream) for stream in plain]
    sys.stdout, sys.stderr = shown
    try:
        yield
    finally:
        for stream in shown:
            stream.flush()
        sys.stdout, sys.stderr = plain


@contextlib.contextmanager
def signals_raise():
    """Let signals raise Interrupted in this context, so that half-written files are tidied up."""

    def handler(number, frame):
        raise Interrupted(number)

    with handling(handler):
        yield


@contextlib.contextmanager
def handling(handler):
    """Let handler(number, frame) answer signals in this context, if this is the main thread."""
    names = 'SIGINT', 'SIGTERM', 'SIGHUP'  # the last is missing on Windows
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    # nohup has SIGHUP ignored, and it stays so.
    hang_up = getattr(signal, 'SIGHUP', None)
    if hang_up and signal.getsignal(hang_up) is signal.SIG_IGN:
        numbers = [number for number in numbers if number != hang_up]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _report(error: str | UserError) -> None:
    """Print the one line of a mistake."""
    # Of several processes that torchrun started, most meet the same mistake: the first says it.
    # The others wait, and are ended meanwhile, unless the mistake is theirs alone.
    shared = os.environ.get('WORLD_SIZE', '1') != '1'
    rank = os.environ.get('RANK', '0') if shared else '0'
    if rank != '0':
        try:
            time.sleep(3)
        except KeyboardInterrupt:
            if not isinstance(error, RankLost):
                return
    if isinstance(error, RankLost) and not error.is_news():
        return
    error = ' '.join(printable(error).split())
    # The first one's progress bar may be on this line.
    error = f'error: {error}' if rank == '0' else f'\nerror: rank {rank}: {error}'
    print(error, file=sys.stderr, flush=True)


def script(main):
    """Wrap main(argv=None): a user's mistake ends in one line and exit code 2.

    So does what the system refuses. A signal ends in one line and 128 + its number. A traceback is
    a bug of ours. Output that nobody can see any more stops nothing.
    """

    @functools.wraps(main)
    def wrapped(argv=None):
        silence()
        with shown_output(), signals_raise():
            try:
                return main(sys.argv[1:] if argv is None else list(argv))
            except UserError as error:
                _report(error)
            except OSError as error:
                _report(f'{error.filename or "a file"}: {error.strerror or error}')
            except KeyboardInterrupt as error:
                number = error.args[0] if isinstance(error, Interrupted) else signal.SIGINT
                print(f'stopped by {signal.Signals(number).name}', file=sys.stderr)
                raise SystemExit(128 + number) from None
            except Exception as error:
                if not (reason := _reason(error)):
                    print(BUG, file=sys.stderr)
                    raise
                _report(reason)
            raise SystemExit(2) from None

    return wrapped


def _reason(error: Exception) -> str | None:
    """Return why an error is no bug of ours: memory, or a network of the user's own."""
    first, kept = str(error).partition('\n')[0], 'what was saved is kept'
    if isinstance(error, MemoryError) or is_memory(error):
        return f'{first or "out of memory"}; {kept}: use a smaller --ipc or --batch_real'
    # It was tried before the run, but on a few images only.
    for frame, line in reversed([*traceback.walk_tb(error.__traceback__)]):
        if str(frame.f_globals.get('__name__')).startswith(OWN_NETWORK):
            place = f'{frame.f_code.co_filename}, line {line}: {type(error).__name__}'
            return f'{place}: {first}; {kept}: see the rules in docs/own_network.md'
    return None


def is_memory(error: Exception) -> bool:
    """Tell whether torch says by this error that memory does not suffice."""
    return any(words in str(error) for words in NO_MEMORY)
