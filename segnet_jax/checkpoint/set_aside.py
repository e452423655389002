"""Checkpoints that are set aside: those that are being replaced, and those that are being removed.

A kill leaves them where they are; the next process that opens the directory puts back or deletes them. Of several
processes the first alone calls this.
"""

import shutil
from pathlib import Path

# Orbax moves what it removes there, in one step, so that a kill leaves no part of a checkpoint.
REMOVED = "removed"

_REPLACED = ".replaced"


def set_aside(path: Path) -> None:
    """Sets a checkpoint's directory aside until `settle_replacements`, if it is there."""
    if path.exists():
        path.rename(path.with_name(path.name + _REPLACED))


def settle_replacements(directory: Path) -> None:
    """Deletes the checkpoints in `directory` that were set aside and replaced, and puts back the others."""
    for path in directory.glob(f"[0-9]*{_REPLACED}"):
        step_path = path.with_name(path.name.removesuffix(_REPLACED))
        if step_path.exists():
            shutil.rmtree(path)
        else:
            path.rename(step_path)


def finish_removals(directory: Path) -> None:
    """Deletes the checkpoints that Orbax, no longer keeping them, has put aside."""
    shutil.rmtree(directory / REMOVED, ignore_errors=True)
