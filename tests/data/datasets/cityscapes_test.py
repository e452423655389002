"""Tests for segnet_jax/data/datasets/cityscapes.py, paired_files.py and class_set.py."""

import logging
import pickle

import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.cityscapes import CITYSCAPES19, CITYSCAPES_TO_CAMVID, CLASS_SETS, Cityscapes
from segnet_jax.data.image_files import read_mask
from segnet_jax.errors import InputError
from tests.helpers.folder_files import save
from tests.helpers.outdoor_files import SIZE, image, mask, write_cityscapes

# The train ids of the labels 0 to 33, as Cityscapes' own scripts have them.
TRAIN_IDS = [*[255] * 7, 0, 1, 255, 255, 2, 3, 4, *[255] * 3, 5, 255, *range(6, 16), 255, 255, 16, 17, 18]


def test_cityscapes19_has_the_train_ids():
    ids = np.arange(34, dtype=np.uint8)[np.newaxis]
    assert CITYSCAPES19.ids_to_labels(ids, "")[0].tolist() == TRAIN_IDS
    assert CITYSCAPES19.num_classes == 19
    assert CITYSCAPES19.void_color == (0, 0, 0)


def test_cityscapes_map_to_camvid_names_all_classes_but_trains():
    assert set(CITYSCAPES19.names) - set(CITYSCAPES_TO_CAMVID) == {"train"}
    assert set(CITYSCAPES_TO_CAMVID.values()) == set(CAMVID11.names)


def test_cityscapes_reads_its_layout(tmp_path):
    root = write_cityscapes(tmp_path / "a" / "b")
    dataset = pickle.loads(pickle.dumps(Cityscapes(tmp_path)))
    assert (dataset.name, dataset.split, len(dataset)) == ("cityscapes", "train", 2)
    assert dataset.names == ["aachen_000000_000019", "bochum_000000_000313"]
    assert dataset.class_table.name == "cityscapes19"
    assert dataset.shape(1) == SIZE
    example = dataset[1]
    assert example["name"] == dataset.names[1]
    np.testing.assert_array_equal(example["image"], image(1))
    expected = mask(VOID, 16, 2, 1)  # unlabeled, train, building, sidewalk
    np.testing.assert_array_equal(example["label"], expected)
    assert example["label"].dtype == np.uint8
    np.testing.assert_array_equal(dataset.label(1), expected)
    before = dataset.fingerprint()
    save(root / "gtFine" / "train" / "bochum" / "bochum_000000_000313_gtFine_labelIds.png", mask(1, 2, 3, 4, 5))
    assert Cityscapes(tmp_path).fingerprint() != before


def test_cityscapes_in_camvids_classes(tmp_path):
    dataset = Cityscapes(write_cityscapes(tmp_path), "train", "camvid11")
    assert dataset.class_table == CAMVID11
    np.testing.assert_array_equal(dataset.label(0), mask(VOID, VOID, 1, 3))
    np.testing.assert_array_equal(dataset.label(1), mask(VOID, VOID, 1, 4))
    everything = CLASS_SETS["camvid11"].to_labels(np.arange(34, dtype=np.uint8)[np.newaxis], "")[0]
    by_id = {entry.id: CITYSCAPES_TO_CAMVID.get(entry.name) for entry in CITYSCAPES19.classes}
    assert [CAMVID11.names[label] if label != VOID else None for label in everything] == [by_id[i] for i in range(34)]


def test_cityscapes_says_when_a_split_is_incomplete(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        Cityscapes(write_cityscapes(tmp_path, "val"), "val")
    assert "holds only 2 of the 500 labelled images of Cityscapes (val)" in caplog.text


def test_cityscapes_missing_files_are_named_with_the_page(tmp_path):
    root = write_cityscapes(tmp_path)
    (root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png").unlink()
    (root / "leftImg8bit/train/bochum/bochum_000000_000313_leftImg8bit.png").unlink()
    with pytest.raises(
        InputError,
        match=r"gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds\.png cannot be found \(2 files of the split "
        r"are missing\); .* https://www\.cityscapes-dataset\.com",
    ):
        Cityscapes(root)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("test",),
            r"The labels of the test images of Cityscapes are not public.* use train or val, or segment",
        ),
        (("training",), "Cityscapes has no split 'training'; use one of train, val"),
        (("val",), r"holds no image of the val split of Cityscapes; .*https://www\.cityscapes-dataset\.com"),
        (("train", "13"), "data.class_set='13' is not known to cityscapes; choose cityscapes19 or camvid11"),
    ],
)
def test_cityscapes_refuses_splits_and_classes_that_are_not_there(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        Cityscapes(write_cityscapes(tmp_path), *arguments)


def test_cityscapes_refuses_other_folders(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder; set data.root to the folder of Cityscapes"):
        Cityscapes(tmp_path / "nowhere")
    (tmp_path / "leftImg8bit").mkdir()
    with pytest.raises(
        InputError,
        match=r"does not hold Cityscapes, whose folders are leftImg8bit and gtFine; .*https://www\.cityscapes-dat",
    ):
        Cityscapes(tmp_path)
    for name in ("one", "two"):
        write_cityscapes(tmp_path / name)
    with pytest.raises(InputError, match="holds Cityscapes more than once, in .*/one and .*/two; set data.root to one"):
        Cityscapes(tmp_path)


def test_cityscapes_refuses_labels_of_another_size_and_unknown_ids(tmp_path):
    root = write_cityscapes(tmp_path)
    label = root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png"
    save(label, mask(34))
    with pytest.raises(InputError, match=r"aachen.*labelIds\.png: the label id 34 at row 0, column 0 is not in class"):
        Cityscapes(root).label(0)
    save(label, mask(7)[:3])
    with pytest.raises(InputError, match=r"aachen.*labelIds\.png is 3x6 pixels \(height x width\) but its image"):
        Cityscapes(root)


def test_cityscapes_real_frame_has_its_own_train_ids(tmp_path, samples_root):
    sample, stem = samples_root / "cityscapes", "frankfurt_000000_000294"
    for kind, ending in (("leftImg8bit", "leftImg8bit"), ("gtFine", "gtFine_labelIds")):
        folder = tmp_path / kind / "val" / "frankfurt"
        folder.mkdir(parents=True)
        (folder / f"{stem}_{ending}.png").symlink_to(sample / kind / f"{stem}_{ending}.png")
    dataset = Cityscapes(tmp_path, "val")
    train_ids = read_mask(sample / "gtFine" / f"{stem}_gtFine_labelTrainIds.png")
    # The sample's two files were reduced each by itself, so a few pixels at edges differ.
    assert (dataset.label(0) == train_ids).mean() > 0.997
    for label in np.unique(train_ids):
        assert np.bincount(dataset.label(0)[train_ids == label]).argmax() == label
    assert dataset.shape(0) == (128, 256) == dataset[0]["image"].shape[:2]
