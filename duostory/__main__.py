import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # while modules load, Ctrl-C ends the program without a traceback

from .cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
