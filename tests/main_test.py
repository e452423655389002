"""Tests for segnet_jax/main.py: the command line, in processes of its own."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet_jax.checkpoint import Checkpoints
from segnet_jax.config import from_dict
from segnet_jax.experiment import checkpoint_template, model_of, optimizer_of

ROOT = Path(__file__).parents[1]

# The run of `tiny_config`, as overrides of the shipped configuration.
TINY = [
    f"--config={ROOT / 'configs' / 'synthetic.py'}",
    "--config.data.scene_size=(16, 24)",
    "--config.data.train_scenes=16",
    "--config.data.eval_scenes=8",
    "--config.model.name=segnet_basic",
    "--config.model.width_multiplier=0.0625",
    "--config.optimizer.warmup=0 steps",
    "--config.train.duration=60 steps",
    "--config.train.checkpoint_every=3 steps",
    "--config.train.eval_every=20 steps",
    "--config.train.log_every=1 steps",
]


def command(*arguments):
    return [sys.executable, "-m", "segnet_jax.main", *arguments]


@pytest.fixture
def environment(tmp_path_factory):
    # One device: SIGKILL and resume are about processes. The cache makes every start after the first a quick one.
    cache = tmp_path_factory.getbasetemp() / "cli_cache"
    return {**os.environ, "XLA_FLAGS": "", "XDG_CACHE_HOME": str(cache), "PYTHONPATH": str(ROOT)}


def run(*arguments, env, cwd=None):
    return subprocess.run(
        command(*arguments), env=env, cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )


def final_state(workdir):
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        step = checkpoints.latest_step()
        config = from_dict(checkpoints.read_metadata(step)["config"])
        template = checkpoint_template(model_of(config, 10), optimizer_of(config, lambda step: 0.0))
        return step, checkpoints.restore(template, step)[1]


def test_killed_at_any_moment_and_resumed_ends_bit_identical(environment, tmp_path):
    whole = run(*TINY, f"--workdir={tmp_path / 'whole'}", env=environment)
    assert whole.returncode == 0, whole.stderr
    assert "mIoU" in whole.stdout
    rng = np.random.default_rng(0)
    for kill in range(3):
        process = subprocess.Popen(
            command(*TINY, f"--workdir={tmp_path / 'killed'}"),
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        # So many lines of progress, then SIGKILL: in the middle of a step, of a save or of an evaluation.
        lines = int(rng.integers(4, 16))
        seen = 0
        for line in process.stdout:
            seen += line.startswith("step")
            if seen >= lines:
                break
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL, f"kill {kill} came too late to test anything"
    resumed = run(*TINY, f"--workdir={tmp_path / 'killed'}", env=environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming at step" in resumed.stdout
    (step, expected), (resumed_step, found) = final_state(tmp_path / "whole"), final_state(tmp_path / "killed")
    assert step == resumed_step == 60
    import jax

    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(expected), jax.tree.leaves(found), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes(), path
    reports = [(tmp_path / name / "eval" / "val-60.json").read_text() for name in ("whole", "killed")]
    assert reports[0] == reports[1]

    evaluated = run("--mode=eval", f"--workdir={tmp_path / 'whole'}", "--config.eval.checkpoint=60", env=environment)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "Step 60 on synthetic (val):" in evaluated.stdout
    assert (tmp_path / "whole" / "eval" / "val-60.json").read_text() == reports[0]


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
