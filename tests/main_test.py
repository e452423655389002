"""Tests for segnet_jax/main.py: the command line, in processes of its own."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.faults.program import ROOT, make_environment


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
