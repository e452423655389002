"""A folder with files that cannot be read, and one that vanishes in mid-run."""

import contextlib
import shutil
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers.folder_files import save
from tests.helpers.program import TINY, Program, differences, resumed_step, steps_in

SIZE = (16, 24)
# As the command `capsh --drop` does it: without these, root too is refused what a file's mode refuses.
_DROP_CAPABILITIES = """
import ctypes, os, sys
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
    ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability)
os.execv(sys.argv[1], sys.argv[1:])
"""
_AS_A_USER = [sys.executable, "-c", _DROP_CAPABILITIES]


def arguments_for(root, workdir):
    classes = ({"name": "road", "id": 0}, {"name": "car", "id": 1}, {"name": "sky", "id": 2})
    return [
        *TINY,
        "--config.data.name=folder",
        f"--config.data.root={root}",
        f"--config.data.classes={classes}",
        f"--workdir={workdir}",
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of twelve training images and three for validation; masks of the ids 0 to 2."""
    root = tmp_path_factory.mktemp("data") / "mine"
    rng = np.random.default_rng(0)
    stems = [f"image_{index}" for index in range(15)]
    for stem in stems:
        save(root / "images" / f"{stem}.png", rng.integers(0, 256, (*SIZE, 3), np.uint8))
        save(root / "masks" / f"{stem}.png", rng.integers(0, 3, SIZE, np.uint8))
    (root / "train.txt").write_text("\n".join(stems[:12]))
    (root / "val.txt").write_text("\n".join(stems[12:]))
    return root


def out_of_range(path):
    mask = np.array(Image.open(path))
    mask[3, 4] = 7
    Image.fromarray(mask).save(path)


# The file, its damage, and the message beside its path.
FAULTS = {
    "truncated": ("images/image_1.png", lambda path: path.write_bytes(path.read_bytes()[:200]), "is damaged"),
    "empty": ("images/image_2.png", lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "unreadable": ("images/image_3.png", lambda path: path.chmod(0), "cannot be read (Permission denied)"),
    "unreadable folder": ("masks", lambda path: path.chmod(0), "masks cannot be read (Permission denied)"),
    "a value of no class": ("masks/image_14.png", out_of_range, "the label id 7 at row 3, column 4 is not in"),
}


@pytest.mark.ci
def test_train_names_a_bad_file_before_the_first_step(environment, images, tmp_path):
    with contextlib.ExitStack() as stack:
        programs = {}
        for name, (file, damage, _) in FAULTS.items():
            root = shutil.copytree(images, tmp_path / name)
            damage(root / file)
            program = Program(
                arguments_for(root, tmp_path / "run" / name), environment, tmp_path / f"{name}.log", _AS_A_USER
            )
            programs[name] = stack.enter_context(program)
        for name, program in programs.items():
            file, _, message = FAULTS[name]
            assert program.end() == 1, program.output
            (line,) = [line for line in program.output.splitlines() if line.startswith("error: ")]
            assert str(tmp_path / name / file) in line
            assert message in line
            assert "Traceback" not in program.output
            assert program.step == 0
            assert steps_in(tmp_path / "run" / name) == []


@pytest.mark.slow
def test_train_resumes_after_its_images_were_gone_in_mid_run(environment, images, tmp_path):
    root = shutil.copytree(images, tmp_path / "mine")
    with Program(arguments_for(root, tmp_path / "whole"), environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
    workdir = tmp_path / "run"
    newest = 0
    for workers in (0, 1):
        arguments = [*arguments_for(root, workdir), f"--config.data.num_workers={workers}"]
        with Program(arguments, environment, tmp_path / "log") as program:
            program.pause_in_step(newest + 5, workdir)
            present = steps_in(workdir)
            root.rename(tmp_path / "elsewhere")
            program.send(signal.SIGCONT)
            assert program.end() == 1, program.output
            assert resumed_step(program.output) == (newest or None)
            (line,) = [line for line in program.output.splitlines() if line.startswith("error: ")]
            assert line.startswith(f"error: {root}/")
            assert line.endswith(" does not exist; correct the path or restore the file.")
            assert "Traceback" not in program.output
        (tmp_path / "elsewhere").rename(root)
        assert max(present) > newest
        newest = max(steps_in(workdir))
        assert newest >= max(present)
    with Program(arguments_for(root, workdir), environment, tmp_path / "log") as program:
        assert program.end() == 0, program.output
        assert resumed_step(program.output) == newest
    assert differences(workdir, tmp_path / "whole") == []
