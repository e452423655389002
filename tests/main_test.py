"""Tests for segnet_jax/main.py: the command line, in processes of its own."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.faults.program import make_environment
from tests.helpers.paths import ROOT


def command(*arguments):
    return [sys.executable, "-m", "segnet_jax.main", *arguments]


@pytest.fixture
def environment(tmp_path_factory):
    return make_environment(tmp_path_factory.getbasetemp() / "cli_cache")


def run(*arguments, env, cwd=None):
    return subprocess.run(
        command(*arguments), env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.train.batchsize=8", "--workdir=x"], "batchsize"),
        (["--config.train.batch_size=many", "--workdir=x"], "batch_size"),
        (["--config=missing.py", "--workdir=x"], "missing.py"),
        ([], "workdir"),
        (["--mode=test", "--workdir=x"], "mode"),
        (["--mode=eval", "--workdir=x"], "x holds no checkpoint"),
        (["--mode=ablation", "--workdir=x"], "x holds no checkpoint"),
        (["--mode=missing", "--workdir=x"], "x holds no checkpoint"),
        ([f"--config={ROOT / 'configs' / 'folder_transfer.py'}:L5", "--workdir=x"], "R, SM and L4, not 'L5'"),
        ([f"--config={ROOT / 'configs' / 'benchmark.py'}:fcn4s", "--workdir=x"], "the rows are segnet, deeplab"),
        (["--workdir=x", "stray"], "stray"),
        (["--config=own/typo.py", "--workdir=x"], "flipp"),
        (["--config.data.name=camvid", "--config.data.root=nowhere", "--workdir=x"], "nowhere"),
        (["--config.data.name=folder", "--config.data.root=own", "--workdir=x"], '"name": "class_0"'),
    ],
)
def test_a_mistake_is_answered_without_a_traceback(environment, tmp_path, arguments, message):
    for folder, image in (("images", np.zeros((8, 8, 3), np.uint8)), ("masks", np.eye(8, dtype=np.uint8))):
        (tmp_path / "own" / folder).mkdir(parents=True)
        for name in "abcdefgh":
            Image.fromarray(image).save(tmp_path / "own" / folder / f"{name}.png")
    (tmp_path / "own" / "typo.py").write_text(
        "from segnet_jax.config import default_config\n\n\n"
        "def get_config():\n    config = default_config()\n    config.augment.flipp = True\n    return config\n"
    )
    result = run(*arguments, env=environment, cwd=tmp_path)
    output = result.stdout + result.stderr
    assert result.returncode not in (0, -signal.SIGKILL), output
    assert message in output
    assert "Traceback" not in output
    assert not (tmp_path / "x").exists(), "a run that cannot start leaves nothing behind"


@pytest.mark.slow
@pytest.mark.parametrize(("row", "num_classes"), [("sun_segnet", 37), ("deeplab_largefov_crf", 10)])
def test_a_row_of_the_benchmark_trains(environment, tmp_path, row, num_classes):
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
