"""Parses the command line's flags, and answers mistakes in one line."""

from __future__ import annotations

import difflib
import runpy
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import ml_collections
from absl import app, flags
from ml_collections import config_flags

from segnet_jax.config import default_config, default_file, flatten


def parse_flags(arguments: list[str], flag_values: flags.FlagValues = flags.FLAGS) -> list[str]:
    """Parses the command line into `flag_values`, and returns its first word alone.

    Without --config the file is that of the defaults. It is not the flag's default value, because that would be read,
    and overrides be applied to it, before a mistake in them could be answered in one line.

    Raises:
      SystemExit: with status 2 after a mistake, which is printed in one line, and 0 after --help.
    """
    if {"--help", "-h", "-?", "--helpshort"} & set(arguments):
        _print_help()
        sys.exit(0)
    files = [text.partition("=")[2] for text in arguments if text.startswith("--config=")]
    for path in files:
        # After a colon comes the argument of the file's get_config.
        if not Path(path.partition(":")[0]).is_file():
            _exit(f"--config={path} is not a file; those that come along lie in configs/.")
        _require_config(path)
    for text in arguments:
        if text.startswith("--config."):
            _refuse_unknown_key(text.removeprefix("--config.").partition("=")[0])
    if not files and "--config" not in arguments:
        arguments = [arguments[0], f"--config={default_file()}", *arguments[1:]]
    try:
        rest = flag_values(arguments)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        _exit(f"{' '.join(str(error).split())} (--help tells more)")
    if len(rest) > 1:
        _exit(f"what is {rest[1]!r}? Options begin with --, as in --workdir=runs/first.")
    return rest


def read_config(file: str, overrides: Sequence[str]) -> ml_collections.ConfigDict:
    """Returns the configuration of a program whose other flags have been parsed.

    Args:
      file: the configuration file; "" takes the defaults.
      overrides: flags such as "--config.data.root=FOLDER".

    Raises:
      SystemExit: with status 2 after a mistake, which is printed in one line.
    """
    arguments = ["segnet_jax", *[f"--config={file}"] * bool(file), *overrides]
    flag_values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "The configuration.", lock_config=True, flag_values=flag_values, sys_argv=arguments
    )
    parse_flags(arguments, flag_values)
    return flag_values.config


def _print_help() -> None:
    app.usage(shorthelp=True, writeto_stdout=True)
    print("\nThe keys of --config.KEY=VALUE with their defaults; configs/default.py says what each is for:\n")
    for key, value in flatten(default_config()).items():
        print(f"  --config.{key}={'' if value is None else value}")


def _require_config(text: str) -> None:
    """Refuses a configuration file that fails, with the line, or gives no configuration.

    ml_collections would load it too, but tells neither.
    """
    path, colon, argument = text.partition(":")
    try:
        get_config = runpy.run_path(path).get("get_config")
        config = get_config(*[argument] * bool(colon)) if get_config else None
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
        if isinstance(error, SyntaxError):
            lines.append(error.lineno)
        where = f"{path}, line {lines[-1]}" if lines else path
        _exit(f"{where}: {type(error).__name__}: {' '.join(str(error).split())}")
    if get_config is None:
        _exit(f"{path} has no function get_config, which returns the configuration; configs/ has examples.")
    if not isinstance(config, ml_collections.ConfigDict) or flatten(config).keys() != flatten(default_config()).keys():
        _exit(
            f"{path}: get_config returns no configuration of this program but a {type(config).__name__}; let it change "
            "and return segnet_jax.config.default_config()."
        )


def _refuse_unknown_key(key: str) -> None:
    declared = flatten(default_config())
    if key.partition("[")[0] in declared:
        return
    name = key.rpartition(".")[2]
    close = [known for known in declared if known.rpartition(".")[2] == name]
    close.sort(key=lambda known: not known.startswith("train."))  # meant more often than the others
    close = close or difflib.get_close_matches(key, declared, 1)
    advice = f"did you mean {' or '.join(close)}?" if close else "configs/default.py declares those that there are."
    _exit(f"--config.{key}: the configuration has no key {key}; {advice}")


def _exit(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
