"""Tests for launch/camvid_full.sh, with an interpreter that stands for Python."""

import os

import pytest

from tests.helpers.launching import make_program, run_script
from tests.helpers.paths import ROOT

SCRIPT = ROOT / "launch" / "camvid_full.sh"

# Writes down how it was called; what trains goes on until SIGTERM, if $TRAINING is "long", or ends with that status.
INTERPRETER = r"""
echo "${*//$'\n'/ }" >>"$LOG"
[[ $* == *--config=* ]] || exit 0
trap 'exit 143' TERM
[[ $TRAINING == long ]] || exit "$TRAINING"
while true; do sleep 0.05; done
"""


@pytest.fixture
def call(tmp_path):
    """A function that runs the script on a data folder and a file of weights, and returns it with what it started."""
    (tmp_path / "camvid").mkdir()
    (tmp_path / "vgg16.safetensors").touch()
    log = tmp_path / "log"

    def run(*arguments, training):
        log.write_text("")
        python = make_program(tmp_path, "python", INTERPRETER)
        env = {**os.environ, "PYTHON": str(python), "LOG": str(log), "TRAINING": training}
        done = run_script(SCRIPT, *arguments, env=env, cwd=tmp_path)
        return done, log.read_text().splitlines()

    return run


def test_camvid_full_leaves_after_its_seconds_with_a_status_that_asks_for_more(call):
    done, started = call("--seconds=1", "camvid", "vgg16.safetensors", "out", "--config.seed=3", training="long")
    assert done.returncode == 75
    assert "not finished after 1 s; the same command goes on" in done.stderr
    assert started == [
        "-m segnet_jax.main --config=configs/camvid_segnet_strong.py --workdir=out/run --config.data.root=camvid"
        " --config.pretrained.path=vgg16.safetensors --config.seed=3"
    ]


def test_camvid_full_evaluates_draws_and_saves_what_is_finished(call):
    done, started = call("--config=mine.py", "camvid", "vgg16.safetensors", "out", training="0")
    assert done.returncode == 0, done.stderr
    modules = ["segnet_jax.main"] * 3 + ["segnet_jax.visualize", "import", "segnet_jax.main"]
    assert [line.split()[1] for line in started] == modules
    assert "--config=mine.py" in started[0]
    assert "--mode=eval" in started[1]
    assert "--config.eval.flip=True" in started[2]
    assert started[-2].endswith("out/run out/network")
    assert "--weights=out/network" in started[-1]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("camvid",), 2, "give the folder of CamVid, the file of VGG16 and a folder for the results"),
        (("nowhere", "vgg16.safetensors", "out"), 2, "nowhere is not a folder"),
        (("camvid", "nothing", "out"), 2, "nothing is not a file"),
        (("--seconds=0", "camvid", "vgg16.safetensors", "out"), 2, "--seconds=0 must be a whole number above 0"),
        (("--leg=3", "camvid", "vgg16.safetensors", "out"), 2, "--leg=3 is not an option"),
        (("camvid", "vgg16.safetensors", "out"), 1, ""),
    ],
)
def test_camvid_full_passes_on_what_fails(call, arguments, status, message):
    done, started = call(*arguments, training="1")
    assert (done.returncode, len(started)) == (status, int(status == 1))
    assert message in done.stderr
