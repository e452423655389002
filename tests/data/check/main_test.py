"""Tests for segnet_jax/data/check/__main__.py: the command, on whole data sets."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from segnet_jax.config import flatten
from segnet_jax.data.check.__main__ import main
from segnet_jax.errors import InputError
from segnet_jax.flags import read_config
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.camvid_files import write_native, write_tutorial
from tests.helpers.folder_files import SIZE, save, write
from tests.helpers.tiff import save_bands


@pytest.fixture(autouse=True)
def _no_matplotlib(monkeypatch):
    """Saves a second for each chart; one test draws it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)


def check(*arguments):
    return main([*arguments, "--workers=1"])


def write_street(root, count=12, size=(24, 32)):
    """Noise above and below a horizon, with masks of two ids and void; the images are called a00, a01, ..."""
    rng = np.random.default_rng(0)
    for index in range(count):
        mask = np.zeros(size, np.uint8)
        mask[8 + index % 8 :], mask[:2] = 4, 255
        save(root / "images" / f"a{index:02}.png", rng.integers(0, 256, (*size, 3), np.uint8))
        save(root / "masks" / f"a{index:02}_label.png", mask)
    return root


def test_check_writes_a_configuration_that_training_takes_as_it_is(tmp_path, capsys):
    root = write_street(tmp_path / "street")
    (root / "classes.txt").write_text("# ids\n0 sky\n4 road\n")
    path = tmp_path / "mine.py"
    assert check(f"--root={root}", f"--write={path}", f"--output={tmp_path / 'out'}") == 0
    found = capsys.readouterr()
    assert f"Written: {path}; correct the names of its classes, and train with\n" in found.out
    assert f"python -m segnet_jax.main --config={path} --workdir=runs/mine\n" in found.out
    assert f"The names of the classes are those of {root / 'classes.txt'}." in found.out
    config = read_config(str(path), [])
    base = flatten(read_config("configs/folder.py", []))
    changed = {key: value for key, value in flatten(config).items() if value != base[key]}
    assert changed == {
        "data.root": str(root),
        "data.classes": (
            {"name": "sky", "id": 0},
            {"name": "road", "id": 4},
            {"name": "void", "id": 255, "ignored": True},
        ),
        "data.image_size": (24, 32),
        "data.mask_suffix": "_label",
        "data.val_fraction": 0.2,  # a tenth of these few images is none
        "train.batch_size": 8,
    }
    # The comments say what the report says.
    report = json.loads((tmp_path / "out" / "check.json").read_text())
    assert report["faults"] == []
    train = report["splits"]["train"]
    assert (train["examples"], report["splits"]["val"]["examples"]) == (11, 1)
    pixels = [entry["pixels"] for entry in train["classes"]]
    weight = report["class_weights"]["median_frequency"]["sky"] ** 0.5
    text = path.read_text()
    assert f"# {100 * pixels[0] / sum(pixels):.3g} % of the training pixels, weight {weight:.3g}\n" in text
    compile(text, str(path), "exec")
    overrides = ["pretrained.weights=none", "model.name=segnet_basic", "model.width_multiplier=0.0625"]
    overrides += ["train.duration=2 steps", "optimizer.warmup=0 steps"]
    config = read_config(str(path), [f"--config.{text}" for text in overrides])
    train_and_evaluate(config, tmp_path / "run")
    result = json.loads((tmp_path / "run" / "eval" / "val-2.json").read_text())
    assert [entry["name"] for entry in result["classes"]] == ["sky", "road"]
    # Once the configuration is there, it is not replaced unasked.
    before = path.read_text()
    assert check(f"--root={root}", f"--write={path}", f"--output={tmp_path / 'out'}") == 1
    assert "mine.py exists; choose another name, or give --overwrite to replace it." in capsys.readouterr().err
    assert path.read_text() == before
    (root / "classes.txt").write_text("0 heaven\n4 earth\n")
    assert check(f"--root={root}", f"--write={path}", f"--output={tmp_path / 'out'}", "--overwrite") == 0
    assert "heaven" in path.read_text()
    # Faults are named, and the table is that of all other masks.
    (root / "images" / "a03.png").write_bytes(b"")
    (root / "masks" / "a04_label.png").unlink()
    assert check(f"--root={root}", f"--write={path}", f"--output={tmp_path / 'out'}", "--overwrite") == 1
    err = capsys.readouterr().err
    assert "a03.png is empty (0 bytes)" in err and "a04.png has no mask" in err and "2 faults" in err
    assert read_config(str(path), []).data.classes == tuple(
        entry | ({"name": name} if name else {})
        for entry, name in zip(config.data.classes, ("heaven", "earth", ""), strict=True)
    )


def test_check_names_all_faults_of_a_folder(tmp_path, capsys):
    root = tmp_path / "street"
    write(root, [f"{index:02}" for index in range(12)])
    for index in range(12):
        save(root / "images" / f"{index:02}.png", np.full((*SIZE, 3), 20 * index, np.uint8))
    (root / "masks" / "01.png").unlink()
    (root / "images" / "02.png").unlink()
    (root / "images" / "03.png").write_bytes((root / "images" / "03.png").read_bytes()[:45])
    (root / "masks" / "04.png").write_bytes(b"no image")
    save(root / "masks" / "05.png", np.zeros((4, 5), np.uint8))
    save(root / "masks" / "06.png", np.full(SIZE, 9, np.uint8))
    (root / "images" / "07.png").write_bytes((root / "images" / "00.png").read_bytes())
    save(root / "images" / "08.bmp", np.full((*SIZE, 3), 7, np.uint8))
    (root / "train.txt").write_text("\n".join(f"{index:02}" for index in (0, 1, 3, 4, 5, 6, 8)) + "\nnone\n00\n")
    (root / "val.txt").write_text("07\n09\n02\n10\n")
    arguments = ["--config.data.name=folder", f"--config.data.root={root}"]
    arguments += ["--config.data.classes=({'name': 'road', 'id': 3}, {'name': 'sky', 'id': 0})"]
    assert check(*arguments, f"--output={tmp_path / 'out'}") == 1
    err = capsys.readouterr().err
    faults = [line.removeprefix("error: ") for line in err.splitlines() if line.startswith("error: ")]
    images, masks = root / "images", root / "masks"
    beginnings = [
        f"{images}/08.png and 08.bmp differ only in their ending",
        f"Line 8 of {root}/train.txt names 'none', which is not in",
        f"Line 9 of {root}/train.txt names '00' again, after line 1",
        f"{images}/01.png has no mask, {masks}/01.png; add it",
        f"{masks}/04.png is not an image that can be read",
        f"{masks}/05.png is 4x5 pixels (height x width) but its image",
        f"Line 3 of {root}/val.txt names '02', which is not in",
        f"{images}/03.png is damaged or cannot be read",
        f"{masks}/06.png: the label id 9 at row 0",
        "00 (train) and 07 (val) are the same image; keep it in one split",
    ]
    assert len(faults) == len(beginnings), "\n".join(faults)
    for beginning in beginnings:
        assert sum(fault.startswith(beginning) for fault in faults) == 1, beginning
    report = json.loads((tmp_path / "out" / "check.json").read_text())
    assert report["faults"] == faults
    assert (report["splits"]["train"]["examples"], report["splits"]["train"]["without_fault"]) == (4, 2)
    assert "test.txt does not exist" in report["left_out"]["test"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "check.json",
        "sheet-train.png",
        "sheet-val.png",
    ]
    with Image.open(tmp_path / "out" / "sheet-train.png") as sheet:
        assert sheet.width > 200


def test_check_of_bands_writes_a_configuration_for_them_and_names_splits_that_differ(tmp_path, capsys):
    pytest.importorskip("tifffile", reason="tifffile comes with requirements-data.txt")
    root, path, out = tmp_path / "bands", tmp_path / "mine.py", f"--output={tmp_path / 'out'}"
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for index in range(3):
            save_bands(root / split / "images" / f"{index}.tif", rng.integers(0, 4000, (9, 8, 5), np.uint16))
            save(root / split / "masks" / f"{index}.png", rng.integers(0, 2, (9, 8), np.uint8))
    bands = """--config.data.modalities=("bands",)"""
    assert check(f"--root={root}", bands, f"--write={path}", out) == 0
    written = flatten(read_config(str(path), []))
    assert (written["preprocessing"], written["pretrained.weights"]) == ("standardize", "none")
    assert written["data.modalities"] == ("bands",)
    capsys.readouterr()
    for index in range(3):
        save_bands(root / "val" / "images" / f"{index}.tif", rng.random((9, 8, 5), np.float32))
    assert check(f"--config={path}", out) == 1
    assert (
        "The images of bands (val) have the channels 5 of bands (float32, float32), and those of bands (train) 5 of "
        "bands (float32, uint16)" in capsys.readouterr().err
    )
    config = read_config(str(path), ["--config.train.batch_size=8"])
    with pytest.raises(InputError, match=r"bands \(val\) have the channels 5 of bands"):
        train_and_evaluate(config, tmp_path / "run")


def test_check_takes_mixtures(tmp_path, capsys):
    drawn = {"name": "synthetic", "scene_size": (12, 16), "train_scenes": 3, "eval_scenes": 2}
    arguments = ["--config.data.name=mixture", f"--config.data.mixture=({drawn}, {drawn})"]
    status = check(*arguments, f"--output={tmp_path / 'out'}")
    found = capsys.readouterr()
    assert "synthetic + synthetic: train 6, val 4, test 4 images" in found.out
    assert found.out.count("are the same image; keep one") == 7  # for both draw the same scenes
    assert status == 0


def test_check_names_all_faults_of_camvid(tmp_path, capsys):
    root = write_tutorial(tmp_path / "tutorial", names=[f"0006R0_f0{index}" for index in range(5)])
    (root / "train" / "0006R0_f00.png").unlink()
    (root / "trainannot" / "0006R0_f01.png").unlink()
    save(root / "trainannot" / "0006R0_f02.png", np.zeros((3, 3), np.uint8))
    with (root / "train.txt").open("a") as file:
        file.write("one/field.png\ntrain/0006R0_f03.png train/0006R0_f03.png\n")
    write_tutorial(root, "val", ["0016E5_07959"])
    arguments = ["--config.data.name=camvid", f"--config.data.root={root}", f"--output={tmp_path / 'out'}"]
    assert check(*arguments) == 1
    err = capsys.readouterr().err
    for text in (
        "train.txt: /SegNet/CamVid/train/0006R0_f00.png cannot be found; restore it",
        "train.txt: /SegNet/CamVid/trainannot/0006R0_f01.png cannot be found",
        "trainannot/0006R0_f02.png is 3x3 pixels",
        "Line 6 of",
        "Line 7 of",
    ):
        assert err.count(text) == 1, text
    assert json.loads((tmp_path / "out" / "check.json").read_text())["splits"]["train"]["examples"] == 2
    native = write_native(tmp_path / "native")
    (native / "LabeledApproved_full" / "0006R0_f00930_L.png").unlink()
    arguments = ["--config.data.name=camvid", f"--config.data.root={native}", f"--output={tmp_path / 'out'}"]
    assert check(*arguments) == 1
    err = capsys.readouterr().err
    assert "LabeledApproved_full/0006R0_f00930_L.png cannot be found; restore it" in err
    # All images of that helper are black.
    assert "0001TP_006690 (train) and 0001TP_008520 (train)" in err


def test_check_reports_drawn_scenes_and_works_without_matplotlib(tmp_path, capsys, monkeypatch):
    sizes = ["--config.data.scene_size=(9, 12)", "--config.data.train_scenes=5", "--config.data.eval_scenes=2"]
    assert check(*sizes, f"--output={tmp_path}") == 0
    found = capsys.readouterr()
    assert found.out.startswith("synthetic: train 5, val 2, test 2 images\n")
    assert "No classes.png: Plots need matplotlib;" in found.err
    assert " 0/9 " in found.err and " 9/9 " in found.err
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "check.json",
        "sheet-test.png",
        "sheet-train.png",
        "sheet-val.png",
    ]
    monkeypatch.undo()
    pytest.importorskip("matplotlib")
    assert check(*sizes, f"--output={tmp_path}") == 0
    assert f"Written: {tmp_path / 'classes.png'}\n" in capsys.readouterr().out
    with Image.open(tmp_path / "classes.png") as chart:
        assert chart.width == 1100


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        ([], 2, "what is to be checked? Give --config=FILE, or --root=FOLDER"),
        (["--config=none.py"], 2, "--config=none.py is not a file"),
        (["--config.data.rot=x"], 2, "did you mean data.root?"),
        (["--config.data.name=camvid"], 1, "data.name=camvid needs data.root"),
        (["--config.data.name=folder", "--config.data.root=nowhere"], 1, "nowhere is not a folder"),
        (["--root=nowhere"], 1, "nowhere is not a folder"),
        (["--root=nowhere", "--workers=0"], 1, "--workers=0 must be at least 1."),
        (["--root=nowhere", "--write=mine.txt"], 1, "--write=mine.txt must end in .py"),
        (["--root=nowhere", "--write=none/mine.py"], 1, "the folder none does not exist"),
        (["--config.seed=1", "--write=mine.py"], 1, "--write=mine.py needs --root=FOLDER"),
    ],
)
def test_check_answers_mistakes_in_a_sentence(tmp_path, capsys, monkeypatch, arguments, status, message):
    monkeypatch.chdir(tmp_path)
    try:
        found = main(arguments)
    except SystemExit as exit:
        found = exit.code
    assert found == status
    error = capsys.readouterr().err.splitlines()
    assert message in error[-1]
    assert "error: " in error[-1]
    assert list(tmp_path.iterdir()) == []


def test_check_writes_nothing_if_masks_hold_no_classes(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "street", [f"frame{index}" for index in range(8)])
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    save(tmp_path / "street" / "masks" / "frame0.png", noise)
    for index in range(1, 8):
        save(tmp_path / "street" / "masks" / f"frame{index}.png", np.zeros((40, 40, 3), np.uint8))
    assert check("--root=street", "--write=mine.py") == 1
    assert "different colours" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["street"]


def test_check_on_camvid(camvid_root, tmp_path, capsys):
    arguments = ["--config.data.name=camvid", f"--config.data.root={camvid_root}", "--config.data.max_images=2"]
    assert check(*arguments, f"--output={tmp_path}") == 0
    assert "Sizes of val, height x width: 360x480 (2)" in capsys.readouterr().out
