"""Trains and evaluates, from the command line.

python -m segnet_jax.main --config=FILE --workdir=DIR [--mode=train|eval|missing|ablation] [--config.key=value ...]
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from segnet_jax.command import LogHandler
from segnet_jax.errors import InputError
from segnet_jax.flags import parse_flags
from segnet_jax.runtime import distributed
from segnet_jax.runtime.compilation import enable_compilation_cache
from segnet_jax.runtime.preemption import exit_at_once
from segnet_jax.runtime.processes import all_devices, is_first

_CONFIG = config_flags.DEFINE_config_file(
    "config",
    None,
    "The configuration file; --config.key=value overrides a key. With a --mode other than train the work directory's "
    "own configuration counts, and only the overrides are taken.",
    lock_config=True,
)
_WORKDIR = flags.DEFINE_string("workdir", None, "Where checkpoints, logs and results lie.", required=True)
flags.register_validator(
    "workdir",
    lambda path: path is None or bool(path.strip()),
    "it is empty, as a variable is that is not set; name a folder, such as --workdir=runs/first.",
)
_MODE = flags.DEFINE_enum(
    "mode",
    "train",
    ["train", "eval", "missing", "ablation"],
    "Train, resuming if there is a checkpoint; evaluate; evaluate with a part of the input missing; or study the "
    "features of a segnet_flat.",
)

_WEIGHTS = flags.DEFINE_string(
    "weights",
    "",
    "With --mode=eval: the network to evaluate in place of the work directory's checkpoint: a folder of "
    "Segmenter.save_pretrained, the name of a shipped network, OWNER/NAME on the Hugging Face hub, or one of the "
    "authors' .caffemodel files.",
)
_PROTOTXT = flags.DEFINE_string("prototxt", "", "The definition that goes with a .caffemodel file of --weights.")
_ARCHITECTURE = flags.DEFINE_string(
    "architecture",
    "",
    "The network of a .caffemodel file of --weights that does not tell: segnet, segnet_basic, bayesian_segnet or "
    "bayesian_segnet_basic.",
)
_PARAMETERS = flags.DEFINE_bool("parameters", False, "List every parameter of the network before it is trained.")

_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    "",
    "HOST:PORT of process 0, for a run of several processes that no launcher tells JAX of (docs/distributed.md).",
)
_NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes",
    None,
    "The number of processes of the run; 1 runs this one by itself, whatever has started it.",
    lower_bound=1,
)
_PROCESS_ID = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.", lower_bound=0)
_HEARTBEAT_TIMEOUT = flags.DEFINE_integer(
    "heartbeat_timeout",
    100,
    "Seconds without a heartbeat after which a process counts as lost, and the others end.",
    lower_bound=10,
)
_INITIALIZATION_TIMEOUT = flags.DEFINE_integer(
    "initialization_timeout", 300, "Seconds in which all processes have to arrive.", lower_bound=1
)

_log = logging.getLogger("segnet_jax")


def main(arguments: Sequence[str]) -> None:
    """Runs the --mode, together with the other processes of the run; prints an error of the input in one line."""
    # JAX logs, as information, which accelerators a machine does not have.
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
        exit_at_once(128 + signal.SIGINT)


def _run() -> None:
    # Imported here, so that --help and mistakes on the command line are answered at once.
    from segnet_jax.evaluation.eval_only import evaluate_checkpoint
    from segnet_jax.evaluation.feature_ablation import study_features
    from segnet_jax.evaluation.missing_input import evaluate_missing
    from segnet_jax.training.loop import train_and_evaluate

    _log.addHandler(LogHandler())
    _log.setLevel(logging.INFO if is_first() else logging.CRITICAL)
    _log.propagate = False
    all_devices()  # says where there are none
    workdir = Path(_WORKDIR.value).expanduser()
    if _MODE.value == "train":
        train_and_evaluate(_CONFIG.value, workdir, lists_parameters=_PARAMETERS.value)
        return
    overrides = config_flags.get_override_values(flags.FLAGS["config"])
    if _MODE.value == "eval":
        evaluate_checkpoint(
            workdir, overrides, _WEIGHTS.value, prototxt=_PROTOTXT.value, architecture=_ARCHITECTURE.value
        )
    else:
        {"missing": evaluate_missing, "ablation": study_features}[_MODE.value](workdir, overrides)


if __name__ == "__main__":
    app.run(main, flags_parser=parse_flags)
