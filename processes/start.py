"""Import this first in a script: from here on Ctrl-C is one line, and standard files are open.

Progress bars that go to a file are written once a minute.

Libraries take seconds to import. Nothing is computed meanwhile, so the process ends at once.
"""

import os
import signal
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _end(number, frame):
    os.write(2, b'stopped by SIGINT\n')
    os._exit(128 + number)  # an exception would be a traceback, or be caught by a library


def begin() -> None:
    """Set the process up, if it is a script of this project: a notebook stays as it is."""
    main = getattr(sys.modules['__main__'], '__file__', None) or ''
    folders = (ROOT, *(os.path.join(ROOT, name) for name in ('figures', 'applications')))
    if os.path.dirname(os.path.abspath(main)) not in folders:
        return
    # A closed standard file would give its number to the next one opened, and errors go there.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if not os.isatty(2):
        os.environ.setdefault('TQDM_MININTERVAL', '60')  # tqdm reads it when it is imported
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


begin()
