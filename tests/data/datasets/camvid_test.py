"""Tests for segnet_jax/data/datasets/camvid.py."""

import logging
import pickle

import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.camvid import CAMVID11, Camvid, standard_split
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError
from tests.helpers.camvid_files import FRAMES, ROAD, SKY, save, write_native, write_tutorial


def test_camvid_tutorial_layout(tmp_path):
    dataset = Camvid(write_tutorial(tmp_path), "train")
    assert (dataset.name, dataset.split, len(dataset)) == ("camvid", "train", 2)
    assert dataset.class_table == CAMVID11
    assert dataset.names == ["0001TP_006690", "0016E5_08640"]
    assert dataset.shape(1) == (4, 6)
    example = dataset[1]
    assert example["name"] == "0016E5_08640"
    np.testing.assert_array_equal(example["image"], np.full((4, 6, 3), 10))
    expected = np.full((4, 6), 1)
    expected[0, 0] = VOID
    assert example["label"].dtype == np.uint8
    np.testing.assert_array_equal(example["label"], expected)
    np.testing.assert_array_equal(dataset.label(1), expected)


@pytest.mark.parametrize("prefix", ["", "./", "C:\\data\\CamVid\\", "/a/b/c/", "CamVid/"])
def test_camvid_listed_paths_lead_into_the_folder(tmp_path, prefix):
    dataset = Camvid(write_tutorial(tmp_path, prefix=prefix), "train")
    assert dataset[1]["image"].max() == 10
    assert dataset[1]["label"].max() == VOID


def test_camvid_listed_paths_that_exist_are_taken_as_they_stand(tmp_path):
    elsewhere = write_tutorial(tmp_path / "elsewhere", names=("a", "b", "c"), prefix=f"{tmp_path}/elsewhere/")
    root = write_tutorial(tmp_path / "root", names=("a", "c"))
    (root / "train.txt").write_text((elsewhere / "train.txt").read_text())
    dataset = Camvid(root, "train")
    assert len(dataset) == 3
    assert dataset[2]["image"].max() == 20  # c is the third file there and the second here


def test_camvid_list_may_have_blank_lines_tabs_and_windows_line_ends(tmp_path):
    root = write_tutorial(tmp_path / "camvid")
    text = (root / "train.txt").read_text().replace(" ", "\t").replace("\n", "\r\n\r\n")
    (root / "train.txt").write_bytes(b"\r\n" + text.encode())
    # The data may lie one folder deeper, too.
    assert len(Camvid(tmp_path, "train")) == 2


def test_camvid_missing_files_are_counted(tmp_path):
    root = write_tutorial(tmp_path, names=("a", "b", "c"))
    (root / "train" / "b.png").unlink()
    (root / "trainannot" / "b.png").unlink()
    (root / "trainannot" / "c.png").unlink()
    with pytest.raises(InputError, match=r"train\.txt: /SegNet/CamVid/train/b\.png cannot be found \(3 files missing"):
        Camvid(root, "train")


def test_camvid_image_and_label_must_be_two_files(tmp_path):
    root = write_tutorial(tmp_path, names=("a",))
    (root / "train" / "a.png").rename(root / "a.png")
    (root / "trainannot" / "a.png").unlink()
    with pytest.raises(InputError, match=r"Line 1 of .*train\.txt leads to .*a\.png both as image and as label"):
        Camvid(root, "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n \n", r"train\.txt lists no image"),
        ("\ntrain/a.png\n", r"Line 2 of .*train\.txt is 'train/a\.png'; give an image path and a label path"),
    ],
)
def test_camvid_faulty_list_is_refused(tmp_path, text, message):
    root = write_tutorial(tmp_path)
    (root / "train.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        Camvid(root, "train")


def test_camvid_splits_that_are_not_there_are_refused(tmp_path):
    root = write_tutorial(write_tutorial(tmp_path), "val")
    with pytest.raises(InputError, match=r"test\.txt does not exist; add it, or use .* \(train, val\)"):
        Camvid(root, "test")
    with pytest.raises(InputError, match="no split 'training'; use one of train, val, test"):
        Camvid(root, "training")


def test_camvid_unknown_layout_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no known layout of CamVid; it needs train.txt"):
        Camvid(tmp_path, "train")
    with pytest.raises(InputError, match="nowhere is not a folder"):
        Camvid(tmp_path / "nowhere", "train")


def test_camvid_label_must_have_the_size_of_its_image(tmp_path):
    root = write_tutorial(tmp_path, names=("a",))
    save(root / "trainannot" / "a.png", np.zeros((3, 6), np.uint8))
    with pytest.raises(InputError, match=r"trainannot/a\.png is 3x6 pixels .*train/a\.png is 4x6; bring both"):
        Camvid(root, "train")


@pytest.mark.parametrize(("stem", "split"), [*FRAMES.items(), ("", None), ("0001TP_x", None), ("0006R0_f09999", None)])
def test_standard_split(stem, split):
    assert standard_split(stem) == split


@pytest.mark.parametrize(("split", "size"), [("train", 367), ("val", 101)])
def test_standard_split_is_that_of_the_tutorial(camvid_root, split, size):
    lines = (camvid_root / f"{split}.txt").read_text().splitlines()
    stems = [line.split()[0].split("/")[-1].removesuffix(".png") for line in lines]
    assert len(stems) == size
    assert {standard_split(stem) for stem in stems} == {split}
    assert Camvid(camvid_root, split).names == stems


def test_standard_split_sizes():
    numbers = [f"0001TP_{n:06}" for n in range(6690, 10381, 30)]
    numbers += [f"0006R0_f{n:05}" for n in range(930, 3931, 30)]
    numbers += [f"Seq05VD_f{n:05}" for n in range(0, 5101, 30)]
    splits = [standard_split(stem) for stem in numbers]
    assert [splits.count(split) for split in ("train", "val", "test", None)] == [62 + 101, 0, 62 + 171, 0]


def test_camvid_native_layout(tmp_path):
    root = write_native(tmp_path)
    for split in ("train", "val", "test"):
        dataset = Camvid(root, split)
        assert dataset.names == sorted(stem for stem, of in FRAMES.items() if of == split)
        assert dataset.shape(0) == (2, 2)
        example = dataset[len(dataset) - 1]
        assert example["name"] == dataset.names[-1]
        assert example["label"].tolist() == [[0, 3], [1, VOID]]


def test_camvid_groups_are_dusk_and_day(tmp_path):
    dataset = Camvid(write_native(tmp_path), "test")
    found = {name: dataset.group(index) for index, name in enumerate(dataset.names)}
    assert found == {"0001TP_008550": "dusk", "Seq05VD_f00000": "day", "Seq05VD_f05100": "day"}


def test_camvid_native_layout_with_lists_of_its_own(tmp_path):
    root = write_native(tmp_path)
    (root / "train.txt").write_text(
        "Seq05VD_f05100\n\n0001TP_006690.png\r\n/x/0016E5_07959.png /y/0016E5_07959_L.png\n"
    )
    assert Camvid(root, "train").names == ["Seq05VD_f05100", "0001TP_006690", "0016E5_07959"]
    with pytest.raises(InputError, match=r"val\.txt does not exist; .* \(train\)"):
        Camvid(root, "val")
    (root / "val.txt").write_text("0016E5_07961\n")
    with pytest.raises(
        InputError, match=r"val\.txt: .*701_StillsRaw_full/0016E5_07961\.png cannot .* \(2 files missing"
    ):
        Camvid(root, "val")


def test_camvid_native_layout_that_is_incomplete(tmp_path, caplog):
    root = write_native(tmp_path, ["0016E5_07959", "0016E5_07961"])
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        assert len(Camvid(root, "val")) == 2
    assert "holds only 2 of the 101 frames of CamVid's val split" in caplog.text
    with pytest.raises(InputError, match="holds no frame of CamVid's test split"):
        Camvid(root, "test")
    (root / "LabeledApproved_full" / "0016E5_07961_L.png").unlink()
    with pytest.raises(InputError, match=r"LabeledApproved_full/0016E5_07961_L\.png cannot be found \(1 files"):
        Camvid(root, "val")
    (root / "701_StillsRaw_full" / "0016E5_07959.png").unlink()
    with pytest.raises(InputError, match=r"701_StillsRaw_full/0016E5_07959\.png cannot be found \(2 files"):
        Camvid(root, "val")


def test_camvid_colors_outside_the_palette_are_void_and_counted_once(tmp_path, caplog):
    root = write_native(tmp_path, ["0016E5_07959"], np.array([[SKY, (1, 2, 3)], [(128, 128, 127), ROAD]], np.uint8))
    dataset = Camvid(root, "val")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        for _ in range(2):
            assert dataset[0]["label"].tolist() == [[0, VOID], [VOID, 3]]
    (record,) = caplog.records
    assert "0016E5_07959_L.png: 2 pixels have a colour outside CamVid's palette" in record.getMessage()


def test_camvid_native_labels_agree_with_the_tutorials(camvid_root, samples_root):
    tutorial, native = Camvid(camvid_root, "val"), Camvid(samples_root / "camvid_native", "val")
    assert native.names == ["0016E5_07959", "0016E5_08033"]
    for index, name in enumerate(native.names):
        small, full = tutorial.label(tutorial.names.index(name)), native.label(index)
        assert full.shape == (720, 960)
        blocks = full.reshape(360, 2, 480, 2)
        unanimous = (blocks == blocks[:, :1, :, :1]).all(axis=(1, 3))
        assert unanimous.mean() > 0.8
        np.testing.assert_array_equal(full[1::2, ::2][unanimous], small[unanimous])


def test_camvid_native_frames_at_half_their_size_are_those_of_the_tutorial(camvid_root, samples_root):
    for split in ("train", "val"):
        tutorial, native = Camvid(camvid_root, split), Camvid(samples_root / "camvid_native", split)
        for index, name in enumerate(native.names):
            half, small = resize(native[index], (360, 480)), tutorial[tutorial.names.index(name)]
            assert np.mean(half["label"] == small["label"]) > 0.996
            # The tutorial's images are cut off to whole numbers, these are rounded.
            difference = half["image"].astype(int) - small["image"]
            assert (difference.min(), difference.max()) == (0, 1)


def test_camvid_pickle_and_fingerprint(tmp_path):
    dataset = Camvid(write_tutorial(tmp_path), "train")
    copy = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(copy[1]["label"], dataset[1]["label"])
    before = dataset.fingerprint()
    assert copy.fingerprint() == before
    save(tmp_path / "trainannot" / "0016E5_08640.png", np.zeros((4, 6), np.uint8))
    assert dataset.fingerprint() != before
