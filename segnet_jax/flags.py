"""Parses the command line's flags, and answers mistakes in one line."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import NoReturn

from absl import flags

from segnet_jax.config import default_config, default_file, flatten


def parse_flags(arguments: list[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line into `flag_values`, and returns its first word alone.

    Without --config the file is that of the defaults. It is not the flag's default value, because that would be read,
    and overrides be applied to it, before a mistake in them could be answered in one line.

    Raises:
      SystemExit: with status 2 after a mistake, which is printed in one line.
    """
    files = [text.partition("=")[2] for text in arguments if text.startswith("--config=")]
    for path in files:
        # After a colon comes the argument of the file's get_config.
        if not Path(path.partition(":")[0]).is_file():
            _exit(f"--config={path} is not a file; those that come along lie in configs/.")
    for text in arguments:
        if text.startswith("--config."):
            _refuse_unknown_key(text.removeprefix("--config.").partition("=")[0])
    if not files and "--config" not in arguments:
        arguments = [arguments[0], f"--config={default_file()}", *arguments[1:]]
    try:
        rest = flag_values(arguments)
    except (AttributeError, KeyError) as error:
        _exit(f"a configuration sets a key that configs/default.py does not declare: {error}")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        # What a file's get_config raises comes with its traceback; the last line has the message.
        text = str(error) if "Traceback" not in str(error) else str(error).strip().splitlines()[-1]
        _exit(f"{' '.join(text.split())} (--help tells more)")
    if len(rest) > 1:
        _exit(f"what is {rest[1]!r}? Options begin with --, as in --workdir=runs/first.")
    return rest


def _refuse_unknown_key(key: str) -> None:
    declared = flatten(default_config())
    if key.partition("[")[0] not in declared:
        close = difflib.get_close_matches(key, declared, 1)
        advice = f"did you mean {close[0]}?" if close else "configs/default.py declares those that there are."
        _exit(f"--config.{key}: the configuration has no key {key}; {advice}")


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
