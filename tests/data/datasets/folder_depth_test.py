"""Tests for segnet_jax/data/datasets/folder.py with depth maps."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from segnet_jax.data.check import check_examples
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, TABLE, open_all, save, write
from tests.helpers.paths import ROOT
from tests.helpers.program import make_environment
from tests.helpers.record_folders import assert_same_examples


def write_with_depth(folder, stems):
    """Images whose depth tells them, and the pixels of each, apart."""
    for index, stem in enumerate(stems):
        save(folder / "depth" / f"{stem}.png", np.arange(24, dtype=np.uint8).reshape(SIZE) + 100 * index)
    return write(folder, stems, ".jpg")


def test_folder_depth_is_the_fourth_channel(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    save(root / "depth" / "b.png", np.full(SIZE, 2570, np.uint16))
    save(root / "depth" / "of no image.png", np.zeros((1, 1), np.uint8))
    plain, dataset = open_all(root), open_all(root, depth=True)
    assert (plain.modalities, dataset.modalities) == ((3,), (3, 1))
    assert plain[0]["image"].shape == (*SIZE, 3)
    for index, depth in enumerate((np.arange(24).reshape(SIZE), np.full(SIZE, 10))):
        image = dataset[index]["image"]
        assert (image.dtype, image.shape) == (np.uint8, (*SIZE, 4))
        np.testing.assert_array_equal(image[..., :3], plain[index]["image"])
        np.testing.assert_array_equal(image[..., 3], depth)
    assert (open_all(root, depth=True, depth_max=2570)[1]["image"][..., 3] == 255).all()
    check_examples(dataset)


def test_folder_depth_of_splits_in_folders_of_their_own(tmp_path):
    write_with_depth(tmp_path / "train", ["a"])
    write(tmp_path / "val", ["c"])
    assert open_all(tmp_path, depth=True)[0]["image"][3, 5, 3] == 23
    with pytest.raises(InputError, match=r"val/depth does not exist; add this folder"):
        Folder(tmp_path, "val", TABLE, depth=True)


def test_folder_only_the_images_of_a_list_need_depth(tmp_path):
    write_with_depth(tmp_path, ["a", "b"])
    (tmp_path / "depth" / "a.png").unlink()
    (tmp_path / "train.txt").write_text("b\n")
    assert Folder(tmp_path, "train", TABLE, mask_suffix="", depth=True)[0]["image"][0, 0, 3] == 100


def test_folder_faulty_depth_is_refused(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    path = root / "depth" / "b.png"
    save(path, np.zeros((4, 5), np.uint8))
    with pytest.raises(InputError, match=r"depth/b\.png is 4x5 pixels .* its image .*images/b\.jpg is 4x6; bring both"):
        open_all(root, depth=True)
    path.write_bytes(b"")
    with pytest.raises(InputError, match=r"depth/b\.png is empty \(0 bytes\)"):
        open_all(root, depth=True)
    save(path, np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match=r"depth/b\.png is a PNG file of the mode RGB and no depth map; save it as"):
        check_examples(open_all(root, depth=True))
    path.unlink()
    with pytest.raises(InputError, match=r"depth lacks b\.png, one for each image; .* set data\.depth=False"):
        open_all(root, depth=True)


def test_folder_fingerprint_of_depth(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    plain, before = open_all(root).fingerprint(), open_all(root, depth=True).fingerprint()
    other_scale = open_all(root, depth=True, depth_max=9).fingerprint()
    save(root / "depth" / "b.png", np.zeros((4, 6), np.uint16))
    after = open_all(root, depth=True).fingerprint()
    assert len({plain, before, other_scale, after}) == 4
    assert open_all(root).fingerprint() == plain


def test_folder_records_carry_depth(tmp_path):
    root = write_with_depth(tmp_path / "files", ["a", "b"])
    dataset = open_all(root, depth=True)
    output = str(tmp_path / "records")
    prepare_records([dataset], output)
    assert_same_examples(Records(output, "train"), dataset)
    with pytest.raises(InputError, match=r"records of other images"):
        prepare_records([open_all(root, depth=True, depth_max=9)], output)
    with pytest.raises(InputError, match="records of other modalities"):
        prepare_records([open_all(root)], output)


def run_program(tmp_path, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "segnet_jax.main", *arguments],
        env=make_environment(tmp_path / "cache"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_folder_run_on_rgb_and_depth(tmp_path):
    """Depth alone tells the classes: the images are noise everywhere, and one class has a rough surface."""
    rng = np.random.default_rng(0)
    for index in range(12):
        rough = np.arange(24) >= rng.integers(6, 18)
        depth = 2000 + 2000 * rough * np.indices((16, 24)).sum(axis=0) % 4000
        save(tmp_path / "data" / "images" / f"{index}.png", rng.integers(0, 256, (16, 24, 3), np.uint8))
        save(tmp_path / "data" / "masks" / f"{index}.png", np.tile(rough, (16, 1)).astype(np.uint8))
        save(tmp_path / "data" / "depth" / f"{index}.png", depth.astype(np.uint16))
    for split, stems in (("train", range(8)), ("val", range(8, 12))):
        (tmp_path / "data" / f"{split}.txt").write_text("".join(f"{stem}\n" for stem in stems))
    settings = {
        "data.name": "folder",
        "data.root": "data",
        "data.classes": '("smooth", "rough")',
        "data.depth": True,
        "data.depth_max": 5000,
        "augment.brightness": 0.2,
        "model.pairs": 1,
        "model.width_multiplier": 0.125,
        "model.name": "segnet_flat",
        "preprocessing": "lcn",
        "masking.modality": 0.5,
        "optimizer.warmup": "0 steps",
        "train.duration": "30 steps",
        "train.batch_size": 4,
        "eval.missing_pixels": "(0.0,)",
        "eval.pictures": 1,
    }
    arguments = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [f"--config={ROOT / 'configs' / 'synthetic.py'}", "--workdir=run", *arguments]

    trained = run_program(tmp_path, *command)
    assert trained.returncode == 0, trained.stderr
    assert (tmp_path / "run" / "eval" / "val-30.png").read_bytes().startswith(b"\x89PNG")
    plain = json.loads((tmp_path / "run" / "eval" / "val-30.json").read_text())
    assert plain["pixels"] == 4 * 16 * 24

    missing = run_program(tmp_path, "--mode=missing", "--workdir=run", "--config.eval.checkpoint=latest")
    assert missing.returncode == 0, missing.stderr
    assert re.search(r"^0 % missing .*\nRGB missing .*\ndepth missing ", missing.stdout, re.MULTILINE)
    rows = json.loads((tmp_path / "run" / "eval" / "val-30-missing.json").read_text())["evaluations"]
    assert [row["missing_modality"] for row in rows] == [None, 0, 1]
    assert rows[0]["global_accuracy"] == pytest.approx(plain["global_accuracy"])
    _, without_rgb, without_depth = (row["global_accuracy"] for row in rows)
    assert without_rgb > without_depth + 0.2, rows
