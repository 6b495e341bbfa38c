"""The command line: ``python -m bitcask`` and the script ``bitcask`` are the same program as the binary."""

from __future__ import annotations

import signal
import sys

from . import _bitcask


def main() -> int:
    """Runs the program with the arguments of the process."""
    # Python would only note a Ctrl-C, to raise it when the program is done.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _bitcask.run(["bitcask", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
