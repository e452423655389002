"""The command line.

python -m segnet_jax.main --config=FILE --workdir=DIR [--mode=train|eval|missing|ablation] [--config.key=value ...]
"""

from __future__ import annotations

import difflib
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags
from tqdm import tqdm

from segnet_jax import distributed
from segnet_jax.cache import enable_compilation_cache
from segnet_jax.config import default_config, default_file, flatten
from segnet_jax.errors import InputError
from segnet_jax.interruption import leave_at_once

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The configuration file; --config.key=value overrides a key. With a --mode other than train the work directory's "
    "own configuration counts, and only the overrides are taken.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and results lie.", required=True)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "missing", "ablation"],
    "Train, resuming if there is a checkpoint; evaluate; evaluate with a part of the input missing; or study the "
    "features of a segnet_flat.",
)

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "HOST:PORT of process 0, where nothing else tells the processes of one run of each other (docs/distributed.md).",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", None, "How many processes are one run; 1 keeps this one by itself, whatever has started it."
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.")
_HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout",
    100,
    "Seconds without a sign of life after which a process counts as lost, and the others end.",
    lower_bound=10,
)
_INITIALIZATION_TIMEOUT = flags.DEFINE_integer(
    "initialization_timeout", 300, "Seconds in which all processes have to arrive.", lower_bound=1
)

_log = logging.getLogger("segnet_jax")


def main(arguments: Sequence[str]) -> None:
    """Dispatches by --mode."""
    if len(arguments) > 1:
        raise app.UsageError(f"what is {arguments[1]!r}? Options begin with --, as in --workdir=runs/first.")
    # JAX tells, at the level of information, which accelerators a machine does not have.
    absl_logging.set_verbosity(absl_logging.WARNING)
    enable_compilation_cache()
    try:
        with distributed.join(
            _COORDINATOR.value,
            _NUM_PROCESSES.value,
            _PROCESS_ID.value,
            heartbeat_timeout=_HEARTBEAT_TIMEOUT.value,
            initialization_timeout=_INITIALIZATION_TIMEOUT.value,
        ):
            _run()
    except (InputError, FloatingPointError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        # A full disk or a closed pipe below stdout, say. What stdout still holds could not be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        # A file that is open already is not named.
        what = str(error) if error.filename else f"{error.strerror or error}, on writing to {_WORKDIR.value} or stdout"
        print(f"error: {what}; give the same command again once that is put right.", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted at once; what was saved before is intact.", file=sys.stderr)
        leave_at_once(128 + signal.SIGINT)


def _run() -> None:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax import ablation, evaluate_checkpoint, evaluate_missing, train

    _log.addHandler(_LogHandler())
    _log.setLevel(logging.INFO if distributed.is_first() else logging.CRITICAL)
    _log.propagate = False
    workdir = Path(_WORKDIR.value).expanduser()
    if _MODE.value == "train":
        train.train_and_evaluate(_CONFIG.value, workdir)
        return
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    if _MODE.value == "eval":
        evaluate_checkpoint.evaluate_checkpoint(workdir, overrides)
    elif _MODE.value == "missing":
        evaluate_missing.evaluate_missing(workdir, overrides)
    else:
        ablation.study_features(workdir, overrides)


class _LogHandler(logging.Handler):
    """Plain lines on stdout, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Writes the message."""
        tqdm.write(record.getMessage(), file=sys.stdout)
        sys.stdout.flush()


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


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
