"""Serves all commands: makes their parsers, reads the arguments that name a network, and ends them."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")

_STOPPED_STATUS = 130


class LogHandler(logging.Handler):
    """Writes plain lines to stdout, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the message."""
        tqdm.write(record.getMessage(), file=sys.stdout)
        sys.stdout.flush()


def run_command(run: Callable[[], int], stopped: str = "") -> int:
    """Runs a command; returns its exit status, that is 1 after an `InputError`, which is printed, and 130 after Ctrl-C.

    Args:
      run: the command, which returns its status.
      stopped: the line to print after Ctrl-C; "" has none.
    """
    handler, level, propagates = LogHandler(), _log.level, _log.propagate
    _log.addHandler(handler)
    _log.setLevel(logging.INFO)
    # Libraries give the root logger handlers, which would write each line once more.
    _log.propagate = False
    try:
        return run()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if stopped:
            print(stopped, file=sys.stderr)
        return _STOPPED_STATUS
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)
        _log.propagate = propagates


def make_parser(program: str, description: str | None, epilog: str = "") -> argparse.ArgumentParser:
    """Returns the parser of `python -m segnet_jax.PROGRAM`, whose --help shows the description as it is."""
    return argparse.ArgumentParser(
        prog=f"python -m segnet_jax.{program}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_network(parser: argparse.ArgumentParser, *, optional: bool = False) -> None:
    """Declares the arguments that name a trained network, see `network_of`; if `optional`, WHERE may be missing."""
    parser.add_argument("where", metavar="WHERE", nargs="?" if optional else None, help="the network, see above")
    parser.add_argument("--revision", default=None, help="branch, tag or commit of a repository on the hub")
    parser.add_argument("--prototxt", default="", metavar="FILE", help="that goes with a .caffemodel file")
    parser.add_argument(
        "--architecture",
        default="",
        help="of a .caffemodel file that does not tell: segnet, segnet_basic, bayesian_segnet or bayesian_segnet_basic",
    )


def network_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the keyword arguments of `from_pretrained` that `add_network` has declared, but WHERE."""
    return {name: getattr(options, name) for name in ("revision", "prototxt", "architecture")}
