"""The command line's flags, parsed with one-line answers to mistakes."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import NoReturn

from absl import flags

from segnet_jax.config import default_config, default_file, flatten


def parse_flags(arguments: list[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line into `flag_values`; what is wrong with it is said in a line, not in a traceback.

    Without --config the defaults hold. They are not the flag's default value, because that would be read, and
    overrides be applied to it, before anything here could answer for them.
    """
    files = [text.partition("=")[2] for text in arguments if text.startswith("--config=")]
    for path in files:
        # After a colon stands the argument of the file's get_config.
        if not Path(path.partition(":")[0]).is_file():
            _leave(f"--config={path} is not a file; those that come along lie in configs/.")
    for text in arguments:
        if text.startswith("--config."):
            _refuse_unknown_key(text.removeprefix("--config.").partition("=")[0])
    if not files and "--config" not in arguments:
        arguments = [arguments[0], f"--config={default_file()}", *arguments[1:]]
    try:
        return flag_values(arguments)
    except (AttributeError, KeyError) as error:
        _leave(f"a configuration sets a key that configs/default.py does not declare: {error}")
    except (flags.Error, TypeError, ValueError, OSError) as error:
        # What a file's get_config raises comes with its traceback; the last line has the message.
        text = str(error) if "Traceback" not in str(error) else str(error).strip().splitlines()[-1]
        _leave(f"{' '.join(text.split())} (--help tells more)")


def _refuse_unknown_key(key: str) -> None:
    declared = flatten(default_config())
    if key.partition("[")[0] not in declared:
        close = difflib.get_close_matches(key, declared, 1)
        advice = f"did you mean {close[0]}?" if close else "configs/default.py declares those that there are."
        _leave(f"--config.{key}: the configuration has no key {key}; {advice}")


def _leave(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
