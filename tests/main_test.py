"""Tests for segnet_jax/main.py and segnet_jax/flags.py: the command line, in processes of its own."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from PIL import Image

from segnet_jax.config import default_config, flatten
from segnet_jax.flags import parse_flags
from tests.helpers.paths import ROOT
from tests.helpers.program import make_environment


def command(*arguments):
    return [sys.executable, "-m", "segnet_jax.main", *arguments]


@pytest.fixture
def environment(tmp_path_factory):
    return make_environment(tmp_path_factory.getbasetemp() / "cli_cache")


def run(*arguments, env, cwd=None):
    return subprocess.run(
        command(*arguments), env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture
def parse(monkeypatch):
    """Parses arguments into flags such as main's, but not the program's own, and returns them."""

    def parse_arguments(*arguments):
        # ml_collections looks for overrides here.
        monkeypatch.setattr(sys, "argv", ["main", *arguments])
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, "", flag_values=values, lock_config=True)
        flags.DEFINE_enum("mode", "train", ["train", "eval", "missing", "ablation"], "", flag_values=values)
        assert parse_flags(sys.argv, values) == ["main"]
        return values

    return parse_arguments


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.train.batchsize=8"],
            "--config.train.batchsize: the configuration has no key train.batchsize; did you mean train.batch_size?",
        ),
        (
            ["--config.batch_size=8"],
            "--config.batch_size: the configuration has no key batch_size; did you mean train.batch_size or "
            "eval.batch_size?",
        ),
        (
            ["--config.train.batch_size=many"],
            "flag --config.train.batch_size=many: invalid literal for int() with base 10: 'many' (--help tells more)",
        ),
        (["--config=missing.py"], "--config=missing.py is not a file; those that come along lie in configs/."),
        (["--mode=test"], "flag --mode=test: value should be one of <train|eval|missing|ablation> (--help tells more)"),
        (["--nosuch=1"], "Unknown command line flag 'nosuch' (--help tells more)"),
        (["stray"], "what is 'stray'? Options begin with --, as in --workdir=runs/first."),
        (
            [f"--config={ROOT / 'configs' / 'folder_transfer.py'}:L5"],
            f"{ROOT / 'configs' / 'folder_transfer.py'}, line 66: ValueError: the variants are R, SM and L4, not 'L5'",
        ),
    ],
)
def test_parse_flags_answers_a_mistake_in_one_line(parse, arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        parse(*arguments)
    assert left.value.code == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


_BEGINNING = "from segnet_jax.config import default_config\n\n\ndef get_config():\n    config = default_config()\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            _BEGINNING + "    config.augment.flipp = True\n    return config\n",
            'FILE, line 6: AttributeError: \'Key "flipp" ',
        ),
        (_BEGINNING, "FILE: get_config returns no configuration of this program but a NoneType; let it change and "),
        (
            "def get_config():\n    return {}\n",
            "FILE: get_config returns no configuration of this program but a dict; ",
        ),
        (
            "import ml_collections\n\n\ndef get_config():\n    return ml_collections.ConfigDict()\n",
            "FILE: get_config returns no configuration of this program but a ConfigDict; let it change and return ",
        ),
        ("config = 1\n", "FILE has no function get_config, which returns the configuration; configs/ has examples."),
        ("import torch_of_mine\n", "FILE, line 1: ModuleNotFoundError: No module named 'torch_of_mine'"),
        ("def get_config():\n    return config(\n", "FILE, line 2: SyntaxError: '(' was never closed"),
        ("\n\ndef get_config():\n    raise ValueError('one\\n  two')\n", "FILE, line 4: ValueError: one two"),
    ],
)
def test_parse_flags_answers_a_configuration_file_that_gives_none_with_its_line(parse, tmp_path, capsys, text, message):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(SystemExit) as left:
        parse(f"--config={path}")
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {message.replace('FILE', str(path))}")


def test_parse_flags_takes_the_defaults_and_overrides_without_a_file(parse):
    values = parse("--config.train.batch_size=3")
    expected = default_config()
    expected.train.batch_size = 3
    assert values.config.to_dict() == expected.to_dict()


def test_main_without_a_work_directory_names_the_flag(environment, tmp_path):
    result = run(env=environment, cwd=tmp_path)
    message = "error: flag --workdir=None: Flag --workdir must have a value other than None. (--help tells more)\n"
    assert (result.returncode, result.stdout, result.stderr) == (2, "", message)


def test_main_refuses_an_empty_work_directory_before_it_begins(environment, tmp_path):
    result = run("--workdir=", env=environment, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: flag --workdir=: it is empty, as a variable is that is not set; name a ")
    assert list(tmp_path.iterdir()) == []


def test_main_help_describes_every_flag_of_its_own_and_every_key(environment, tmp_path):
    result = run("--help", env=environment, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert set(re.findall(r"^  --(?:\[no\])?(\w+):", result.stdout, re.MULTILINE)) == {
        *("config", "workdir", "mode", "weights", "prototxt", "architecture", "parameters"),
        *("coordinator", "num_processes", "process_id", "heartbeat_timeout", "initialization_timeout"),
    }
    keys = re.findall(r"^  --config\.([\w.]+)=", result.stdout, re.MULTILINE)
    assert keys == list(flatten(default_config()))
    assert "  --config.train.batch_size=12\n" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mode=eval"], "x holds no checkpoint; give the --workdir of a training run."),
        (["--mode=ablation"], "x holds no checkpoint; give the --workdir of a training run."),
        (["--mode=missing"], "x holds no checkpoint; give the --workdir of a training run."),
        (
            ["--config.data.name=camvid", "--config.data.root=nowhere"],
            "data.root=nowhere is not a folder.",
        ),
    ],
)
def test_main_prints_an_error_of_the_input_in_one_line_and_leaves_nothing(environment, tmp_path, arguments, message):
    result = run(*arguments, "--workdir=x", env=environment, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, f"error: {message}\n")
    assert not (tmp_path / "x").exists()


def test_main_names_a_platform_without_devices(environment, tmp_path):
    result = run("--workdir=x", env={**environment, "JAX_PLATFORMS": "abacus"}, cwd=tmp_path)
    (line,) = [line for line in result.stderr.splitlines() if not line.startswith("WARNING")]
    assert result.returncode == 1
    assert line.startswith("error: JAX_PLATFORMS=abacus gives no devices (")
    assert line.endswith("); unset it, or name what there is, such as JAX_PLATFORMS=cpu.")
    assert not (tmp_path / "x").exists()


def test_main_names_the_command_that_finds_the_classes_of_a_folder(environment, tmp_path):
    for folder, image in (("images", np.zeros((8, 8, 3), np.uint8)), ("masks", np.eye(8, dtype=np.uint8))):
        (tmp_path / "own" / folder).mkdir(parents=True)
        for name in "abcdefgh":
            Image.fromarray(image).save(tmp_path / "own" / folder / f"{name}.png")
    result = run("--config.data.name=folder", "--config.data.root=own", "--workdir=x", env=environment, cwd=tmp_path)
    assert result.returncode == 1
    assert "python -m segnet_jax.data.check --root=own --write=mine.py" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("row", "num_classes"), [("sun_segnet", 37), ("deeplab_largefov_crf", 10)])
def test_main_trains_a_row_of_the_benchmark(environment, tmp_path, row, num_classes):
    rng = np.random.default_rng(0)
    if row.startswith("sun_"):
        # Of two sizes; every label, 0 for what is not labelled among them.
        for split, sizes in (("train", ((40, 50), (36, 64))), ("test", ((40, 50),))):
            for number, size in enumerate(sizes):
                mask = (np.arange(size[0] * size[1]) % 38).reshape(size).astype(np.uint8)
                for folder, pixels in (("images", rng.integers(0, 256, (*size, 3), np.uint8)), ("masks", mask)):
                    path = tmp_path / "sun" / split / folder / f"{number}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(pixels).save(path)
        own = ["--config.data.root=sun"]
    else:
        own = ["--config.data.name=synthetic", "--config.data.train_scenes=4", "--config.data.eval_scenes=2"]
        own += ["--config.model.fc_features=64", "--config.crf.iterations=1"]
    result = run(
        f"--config={ROOT / 'configs' / 'benchmark.py'}:{row}",
        "--workdir=run",
        "--config.pretrained.weights=none",
        "--config.model.width_multiplier=0.03125",
        "--config.data.image_size=(32, 48)",
        "--config.train.batch_size=2",
        "--config.train.duration=2 steps",
        *own,
        env=environment,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = (tmp_path / "run" / "eval").glob("*-2*.json")
    report = json.loads(path.read_text())
    assert (report["step"], report["batch_norm"], tuple(report["image_size"])) == (2, "exact", (32, 48))
    assert report["split"] == ("test" if row.startswith("sun_") else "val")
    assert (report["crf"] or {}).get("iterations") == (1 if row.endswith("crf") else None)
    assert len(report["classes"]) == num_classes
