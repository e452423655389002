"""Tests for segnet_jax/data/faults.py."""

import numpy as np
import pytest

from segnet_jax.data.datasets.kitti import Kitti
from segnet_jax.data.datasets.nyuv2 import Nyuv2
from segnet_jax.data.faults import collected, refuse
from segnet_jax.errors import InputError
from tests.helpers.folder_files import save
from tests.helpers.outdoor_files import write_kitti


def test_refuse_raises_and_within_collected_notes_the_sentences():
    error = InputError("two files are missing")
    with pytest.raises(InputError, match="two files are missing"):
        refuse(error, ["a is missing", "b is missing"])
    with collected() as found:
        refuse(error, ["a is missing", "b is missing"])
        with collected() as inner:
            refuse(error)
        refuse(InputError("c"))
    assert (found, inner) == (["a is missing", "b is missing", "c"], ["two files are missing"])
    with pytest.raises(ValueError, match="another"), collected():
        raise ValueError("another")
    with pytest.raises(InputError):
        refuse(error)


def damage(first, second):
    """Takes one file away and makes another one smaller."""
    first.unlink()
    save(second, np.zeros((2, 3), np.uint8))


def test_kitti_within_collected_names_all_faults_and_has_the_rest(tmp_path):
    folder = write_kitti(tmp_path) / "training"
    image, label = folder / "image_2" / "000009_10.png", folder / "semantic" / "000040_10.png"
    damage(image, label)
    with pytest.raises(InputError, match=r"000009_10\.png cannot be found \(1 files of the split are missing\)"):
        Kitti(tmp_path, "train", val_fraction=0.0)
    with collected() as found:
        dataset = Kitti(tmp_path, "train", val_fraction=0.0)
    assert dataset.names == ["000000_10", "000049_10", "000050_10"]
    assert [dataset[i]["image"][0, 0, 0] for i in range(3)] == [0, 49, 50]
    missing, resized = found
    assert missing == f"{image} cannot be found."
    assert resized.startswith(f"{label} is 2x3 pixels")


def test_nyuv2_within_collected_names_all_faults_and_has_the_rest(tmp_path):
    lines = []
    for name in "abcd":
        save(tmp_path / f"{name}.png", np.full((4, 6, 3), ord(name), np.uint8))
        save(tmp_path / f"{name}_label.png", np.full((4, 6), 3, np.uint8))
        lines.append(f"{name}.png {name}_label.png\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    damage(tmp_path / "b.png", tmp_path / "c_label.png")
    with collected() as found:
        dataset = Nyuv2(tmp_path, "train", label_start=1)
    assert [dataset[i]["image"][0, 0, 0] for i in range(len(dataset))] == [ord("a"), ord("d")]
    assert found[0] == f"{tmp_path / 'b.png'} does not exist."
    assert found[1].startswith(f"{tmp_path / 'c_label.png'} is 2x3 pixels")
    assert len(found) == 2
