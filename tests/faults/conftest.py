"""Provides the undisturbed run that disturbed ones are compared with."""

from pathlib import Path

import pytest

from tests.helpers.program import TINY, Program, make_environment


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return make_environment(tmp_path_factory.getbasetemp() / "cli_cache")


@pytest.fixture(scope="session")
def undisturbed(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The work directory of a run that nothing has happened to; not to be changed."""
    directory = tmp_path_factory.mktemp("undisturbed")
    with Program([*TINY, f"--workdir={directory / 'run'}"], environment, directory / "log") as program:
        assert program.end() == 0, program.output
        assert "mIoU" in program.output
    return directory / "run"
