"""Tests of the commands that README and docs/ name: each would be understood by the program that it starts."""

import importlib
import importlib.util
import re
import shlex

import pytest
from absl import flags
from ml_collections import config_flags

from segnet_jax.config import check_values
from segnet_jax.flags import parse_flags
from segnet_jax.training.checks import check_run
from tests.helpers.paths import ROOT

_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Programs with a parser that takes a command's arguments as they are.
_PARSERS = ("segnet_jax.predict", "segnet_jax.export.__main__", "segnet_jax.demo.__main__", "benchmarks.__main__")


def commands_of(text):
    """Returns the `python -m` commands of a page, those of its fenced blocks, each as a list of words."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("&&")]
    commands = [shlex.split(part, comments=True)[2:] for part in parts if part.startswith("python -m ")]
    # Variables of the shell have no value here, and a number to be filled in is any number.
    return [
        [word.replace("=IMAGES_PER_SECOND", "=1") for word in words if "$" not in word and word != "&"]
        for words in commands
    ]


_COMMANDS = [(page.name, command) for page in _PAGES for command in commands_of(page.read_text(encoding="utf-8"))]


def test_commands_of_joins_lines_and_leaves_comments_and_other_programs():
    text = "a\n```sh\npip install x && python -m a.b --c='(1, 2)' \\\n    --d  # e\npython f.py\n```\n    python -m g\n"
    assert commands_of(text) == [["a.b", "--c=(1, 2)", "--d"]]
    assert len(_COMMANDS) > 25


@pytest.mark.parametrize(("page", "command"), _COMMANDS, ids=lambda value: value if isinstance(value, str) else None)
def test_commands_of_the_documentation_are_understood(page, command, monkeypatch):
    program, *arguments = command
    if program == "venv":
        return
    assert importlib.util.find_spec(program), program
    if program in ("segnet_jax.main", "segnet_jax.prepare", "segnet_jax.data.check"):
        monkeypatch.chdir(ROOT)
        assert_configuration(arguments)
    for module in _PARSERS:
        if module.removesuffix(".__main__") == program:
            importlib.import_module(module)._parser().parse_args(arguments)


def assert_configuration(arguments):
    """Asserts that flags are known, the configuration file is there and every key that is set exists and fits."""
    names = [argument.removeprefix("--").partition("=")[0] for argument in arguments]
    known = {"config", "workdir", "mode", "weights", "parameters", "output", "split", "verify", "coordinator"}
    known |= {"num_processes", "process_id", "compression", "workers", "root", "write", "prototxt", "architecture"}
    assert {name for name in names if not name.startswith("config.")} <= known
    configuration = [argument for argument in arguments if argument.startswith("--config")]
    if any(argument.startswith("--config=mine.py") for argument in configuration):
        return
    if not any(argument.startswith("--config=") for argument in configuration):
        # The work directory's own configuration counts.
        configuration.insert(0, "--config=configs/default.py")
    values = flags.FlagValues()
    config_flags.DEFINE_config_file(
        "config", None, "", lock_config=True, flag_values=values, sys_argv=["program", *configuration]
    )
    parse_flags(["program", *configuration], values)
    check_values(values.config)
    if any(argument.startswith("--config=configs/") and "default" not in argument for argument in configuration):
        check_run(values.config)


def test_assert_configuration_fails_by_a_key_that_is_gone(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit):
        assert_configuration(["--config=configs/synthetic.py", "--config.data.depths=True"])
    assert "data.depths" in capsys.readouterr().err
