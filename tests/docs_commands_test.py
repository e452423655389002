"""Runs the `sh` blocks of README and docs/, at tiny size, but for those whose mark says what else does, or why nothing.

A mark is an HTML comment in the line before the block: `<!-- run by tests/a_test.py -->` or `<!-- not run: why -->`.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segnet_jax.inference.pretrained import save_network
from segnet_jax.inference.trained_model import load_trained
from tests.helpers.caffe_files import basic_net, caffemodel
from tests.helpers.camvid_files import write_tutorial
from tests.helpers.folder_files import save
from tests.helpers.paths import ROOT
from tests.helpers.program import make_environment

_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_SIZE = (16, 24)

# Added to each command that trains.
_TINY = [
    "--config.model.name=segnet_basic",
    "--config.model.width_multiplier=0.0625",
    "--config.pretrained.weights=none",
    "--config.train.batch_size=2",
    "--config.train.duration=2 steps",
    "--config.eval.pictures=1",
]

# Commands are those of this checkout and this Python; what they need is installed.
_SHELL = f"""
set -euo pipefail
pip() {{ test -f "$3"; }}
python() {{
  local more=()
  if [[ $2 == segnet_jax.main && $* != *--mode=* ]]; then more=({shlex.join(_TINY)}); fi
  if [[ ${{#more[@]}} != 0 && $* != *image_size* ]]; then more+=("--config.data.image_size={_SIZE}"); fi
  {shlex.quote(sys.executable)} "$@" "${{more[@]}}"
}}
"""


def blocks_of(text):
    """Returns the `sh` blocks of a page, each with its mark, or ""."""
    found = re.findall(r"(?:^ *<!-- ((?:(?!-->).)*) -->\n)?^ *```sh\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    assert len(found) == len(re.findall(r"^ *```sh$", text, re.MULTILINE))
    return found


_BLOCKS = {page.relative_to(ROOT).as_posix(): blocks_of(page.read_text(encoding="utf-8")) for page in _PAGES}
_RUN = {page: [block for mark, block in blocks if not mark] for page, blocks in _BLOCKS.items()}

# What the commands of a page leave behind, of which the tests of the commands tell more.
_LEFT = {
    "README.md": [
        "LABELS/street_overlay.png",
        "runs/camvid/eval/val-2.png",
        "runs/camvid/eval/test-2.png",
        "runs/synthetic/plots/confusion-val.png",
        "report.png",
        "runs/wide/eval/val-2.png",
    ],
    "docs/caffe.md": ["runs/caffe/eval/test-0-weights.json"],
    "docs/data.md": ["RECORDS/index.json", "runs/camvid/eval/val-2.png", "runs/depth/eval/val-2.png"],
    "docs/own_images.md": ["check/sheet-train.png", "runs/mine/eval/val-2.png", "LABELS/street_overlay.png"],
    "docs/prediction.md": ["runs/mine/eval/val-6-weights.json"],
}


def test_blocks_of_gives_each_block_with_the_mark_before_it():
    text = "<!-- not run: a\nb -->\n```sh\nx\n```\n\n<!-- run by t -->\n  ```sh\n  y\n  ```\n\n```sh\nz\n```\n"
    assert blocks_of(text) == [("not run: a\nb", "x\n"), ("run by t", "  y\n"), ("", "z\n")]


@pytest.mark.parametrize(("page", "mark", "block"), [(page, *b) for page, blocks in _BLOCKS.items() for b in blocks])
def test_marks_say_why_not_or_name_a_test_of_the_commands(page, mark, block):
    if not mark or re.fullmatch(r"not run: .+", mark, re.DOTALL):
        return
    names = re.fullmatch(r"run by (\S+(?:,\s+\S+)*)", mark)
    assert names, f"{page}: {mark}"
    tests = "".join((ROOT / name).read_text(encoding="utf-8") for name in re.split(r",\s+", names[1]))
    for program in re.findall(r"python -m (\S+)", block):
        assert program in tests or program.replace(".", "/") in tests, f"{page}: {names[1]} does not run {program}"


@pytest.fixture(scope="module")
def made(trained_run, tmp_path_factory):
    """A folder with what the commands of the pages are given."""
    root = tmp_path_factory.mktemp("pages")
    for path in (*ROOT.glob("requirements*.txt"), ROOT / "configs", ROOT / "examples"):
        (root / path.name).symlink_to(path)
    for name in ("mine", "synthetic"):
        shutil.copytree(trained_run, root / "runs" / name)
    save_network(load_trained(trained_run, {"eval.checkpoint": "latest"}), root / "my_network")
    (root / "net.caffemodel").write_bytes(caffemodel(basic_net(11, width=2).layers))
    rng = np.random.default_rng(0)
    for folder in ("IMAGES", "NEW_IMAGES"):
        save(root / folder / "street.png", rng.integers(0, 256, (9, 13, 3), np.uint8))
    for split in ("train", "val", "test"):
        write_tutorial(root / "CAMVID", split, names=("0001TP_006690", "0016E5_07959"), size=_SIZE)
    for number in range(10):
        for folder, pixels in {
            "images": rng.integers(0, 256, (*_SIZE, 3), np.uint8),
            "depth": rng.integers(0, 10_000, _SIZE, np.uint16),
            "masks": rng.integers(0, 2, _SIZE, np.uint8),
        }.items():
            save(root / "FOLDER" / folder / f"{number}.png", pixels)
    return root


def test_every_page_that_is_run_says_what_it_leaves():
    assert {page for page, blocks in _RUN.items() if blocks} == set(_LEFT), "mark the block, or add to _LEFT"


@pytest.mark.ci
@pytest.mark.parametrize("page", _LEFT)
def test_commands_of_a_page_run_one_after_the_other(page, made, tmp_path, tmp_path_factory):
    pytest.importorskip("matplotlib", reason="matplotlib comes with requirements-report.txt")
    root = shutil.copytree(made, tmp_path / "root", symlinks=True)
    if any("--workdir=runs/mine" in block and "--mode" not in block for block in _RUN[page]):
        shutil.rmtree(root / "runs" / "mine")  # it is trained here
    environment = make_environment(tmp_path_factory.getbasetemp() / "cli_cache")
    for block in _RUN[page]:
        done = subprocess.run(
            ["bash", "-c", _SHELL + block], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    for name in _LEFT[page]:
        path = root / name
        if path.suffix == ".json":
            assert json.loads(path.read_text())
        else:
            Image.open(path).verify()
