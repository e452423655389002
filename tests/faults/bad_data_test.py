"""A folder of images of every kind, with files that cannot be read, and one that vanishes in mid-run."""

import contextlib
import shutil
import signal
import sys

import numpy as np
import pytest
from PIL import Image

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


def write_images(root):
    """Twelve training images, of many kinds, and three for validation; masks of the ids 0 to 2, and 255 for void."""
    rng = np.random.default_rng(0)

    def noise(*channels, dtype=np.uint8):
        return rng.integers(0, np.iinfo(dtype).max, (*SIZE, *channels), dtype, endpoint=True)

    def rgb():
        return Image.fromarray(noise(3))

    images = {
        "16_bit.png": Image.fromarray(noise(dtype=np.uint16)),
        "palette.png": rgb().quantize(16),
        "cmyk.tif": rgb().convert("CMYK"),
        "cmyk.jpg": rgb().convert("CMYK"),
        "rgba.png": Image.fromarray(noise(4)),
        "gray_alpha.png": Image.fromarray(noise(2)),
        "gray.bmp": Image.fromarray(noise()),
        "1_bit.png": rgb().convert("1"),
        **{f"rgb_{index}.png": rgb() for index in range(7)},
    }
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index, (name, image) in enumerate(images.items()):
        stem = name.replace(".", "_")
        image.save(root / "images" / f"{stem}.{name.partition('.')[2]}")
        ids = rng.integers(0, 3, SIZE, np.uint8)
        ids[0, :2] = 255
        mask = Image.fromarray(ids.astype(np.uint16) if index == 0 else ids)
        if index == 1:
            mask.putpalette(noise(3).tobytes()[:768])
        mask.save(root / "masks" / f"{stem}.png")
    stems = [name.replace(".", "_") for name in images]
    (root / "train.txt").write_text("\n".join(stems[:12]))
    (root / "val.txt").write_text("\n".join(stems[12:]))
    return root


def arguments_for(root, workdir):
    classes = ({"name": "road", "id": 0}, {"name": "car", "id": 1}, {"name": "sky", "id": 2})
    void = {"name": "void", "id": 255, "ignored": True}
    return [
        *TINY,
        "--config.data.name=folder",
        f"--config.data.root={root}",
        f"--config.data.classes={(*classes, void)}",
        f"--workdir={workdir}",
    ]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "mine")


def out_of_range(path):
    mask = np.array(Image.open(path))
    mask[3, 4] = 7
    Image.fromarray(mask).save(path)


# The file, its damage, and the message beside its path.
FAULTS = {
    "truncated": ("images/rgba_png.png", lambda path: path.write_bytes(path.read_bytes()[:200]), "is damaged"),
    "empty": ("images/cmyk_jpg.jpg", lambda path: path.write_bytes(b""), "is empty (0 bytes)"),
    "unreadable": ("images/gray_bmp.bmp", lambda path: path.chmod(0), "cannot be read (Permission denied)"),
    "unreadable folder": ("masks", lambda path: path.chmod(0), "masks cannot be read (Permission denied)"),
    "a value of no class": ("masks/rgb_6_png.png", out_of_range, "the label id 7 at row 3, column 4 is not in"),
}


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
