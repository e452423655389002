"""Provides the undisturbed run that disturbed ones are compared with."""

import os
from pathlib import Path

import pytest

from segnet_jax.runtime.files import locked
from tests.helpers.program import TINY, Program, make_environment


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Returns the environment of the programs, with a cache of their own."""
    return make_environment(tmp_path_factory.getbasetemp() / "cli_cache")


@pytest.fixture(scope="session")
def undisturbed(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns the work directory of a run that nothing has happened to; not to be changed.

    It is made once for all of pytest-xdist's workers.
    """
    base = tmp_path_factory.getbasetemp()
    directory = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "undisturbed"
    directory.mkdir(exist_ok=True)
    with locked(directory / "lock"):
        if not (directory / "done").exists():
            with Program([*TINY, f"--workdir={directory / 'run'}"], environment, directory / "log") as program:
                assert program.end() == 0, program.output
                assert "mIoU" in program.output
            (directory / "done").touch()
    return directory / "run"
