"""Tests for segnet_jax/data/datasets/pascal_voc.py."""

import pickle

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.pascal_voc import VOC21, PascalVoc, read_sbd
from segnet_jax.errors import InputError
from tests.helpers.folder_files import save
from tests.helpers.outdoor_files import SIZE, image, mask, write_sbd, write_voc

LISTS = {"train": ["2007_000032", "2007_000039"], "val": ["2007_000033", "2007_000042"]}


def test_voc21_has_the_order_and_colours_of_voc():
    assert [VOC21.names[i] for i in (0, 1, 7, 15, 20)] == ["background", "aeroplane", "car", "person", "tvmonitor"]
    assert VOC21.colors[[0, 1, 15, 20]].tolist() == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128]]
    assert (VOC21.num_classes, VOC21.void_color) == (21, (224, 224, 192))


@pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_pascal_voc_reads_its_layout(tmp_path, below):
    write_voc(tmp_path, LISTS)
    dataset = pickle.loads(pickle.dumps(PascalVoc(tmp_path / below, "val")))
    assert (dataset.name, dataset.split, dataset.names) == ("pascal_voc", "val", LISTS["val"])
    assert dataset.shape(0) == SIZE
    example = dataset[0]
    np.testing.assert_array_equal(example["image"], image(10))
    np.testing.assert_array_equal(example["label"], mask(0, 15, VOID, 20))
    np.testing.assert_array_equal(dataset.label(0), example["label"])
    assert len(dataset.fingerprint()) == 64


def test_pascal_voc_train_aug_from_sbds_own_files(tmp_path):
    folder = write_voc(tmp_path, {**LISTS, "more": ["2008_000008"]}, labelled=LISTS["train"] + LISTS["val"])
    sbd = {stem: mask(0, 3) for stem in ("2008_000008", "2007_000039", "2007_000042")}
    write_sbd(tmp_path, sbd)
    dataset = PascalVoc(tmp_path, "train_aug")
    # VOC's own images keep VOC's labels, and those of val are left out.
    assert dataset.names == ["2007_000032", "2007_000039", "2008_000008"]
    np.testing.assert_array_equal(dataset.label(1), mask(0, 15, VOID, 20))
    np.testing.assert_array_equal(dataset[2]["label"], mask(0, 3))
    assert dataset[2]["image"].shape == (*SIZE, 3) and dataset.shape(2) == SIZE
    assert PascalVoc(folder, "train_aug").names == dataset.names


def test_pascal_voc_train_aug_from_converted_labels(tmp_path):
    folder = write_voc(tmp_path, {**LISTS, "more": ["2008_000008", "2008_000015"]}, labelled=LISTS["train"])
    for stem in ("2007_000039", "2007_000042", "2008_000008", "2008_000015"):
        save(folder / "SegmentationClassAug" / f"{stem}.png", mask(0, 5))
    dataset = PascalVoc(tmp_path, "train_aug")
    assert dataset.names == ["2007_000032", "2007_000039", "2008_000008", "2008_000015"]
    assert [int(dataset.label(i).max()) for i in range(4)] == [VOID, 5, 5, 5]
    # The usual list has an image and a label a line.
    lines = [f"/JPEGImages/{stem}.jpg /SegmentationClassAug/{stem}.png" for stem in ("2008_000015", "2007_000032")]
    (folder / "ImageSets" / "Segmentation" / "trainaug.txt").write_text("\n".join(lines))
    assert PascalVoc(tmp_path, "train_aug").names == ["2008_000015", "2007_000032"]


def test_pascal_voc_train_aug_names_what_its_list_lacks(tmp_path):
    folder = write_voc(tmp_path, {**LISTS, "train_aug": ["2007_000032", "2008_000008"]}, labelled=LISTS["train"])
    cls = write_sbd(tmp_path, {"2007_000039": mask(1)})
    with pytest.raises(
        InputError, match=r"cls/2008_000008\.mat cannot be found \(1 files .* http://host\.robots.*, for SBD, http"
    ):
        PascalVoc(folder, "train_aug")
    (cls / "2007_000039.mat").unlink()
    with pytest.raises(InputError, match=r"benchmark_RELEASE/dataset/cls holds no label file; unpack it again"):
        PascalVoc(folder, "train_aug")


def test_pascal_voc_train_aug_without_sbd(tmp_path):
    write_voc(tmp_path, LISTS)
    with pytest.raises(
        InputError,
        match=r"'train_aug' needs the labels of SBD, .*VOC2012/SegmentationClassAug or .*benchmark_RELEASE/dataset/cls"
        r", which do not exist; get them at http",
    ):
        PascalVoc(tmp_path, "train_aug")


def test_pascal_voc_train_aug_needs_the_list_of_val(tmp_path):
    write_sbd(tmp_path, {"2007_000039": mask(0)})
    write_voc(tmp_path, {"train": LISTS["train"]})
    with pytest.raises(InputError, match=r"val\.txt does not exist; restore it, since no image of it may be trained"):
        PascalVoc(tmp_path, "train_aug")


def test_pascal_voc_missing_lists_and_files(tmp_path):
    folder = write_voc(tmp_path, {**LISTS, "test": ["2008_000006"]}, labelled=LISTS["val"])
    with pytest.raises(InputError, match=r"Segmentation/trainval\.txt does not exist; list .* \(test, train, val\)"):
        PascalVoc(tmp_path, "trainval")
    with pytest.raises(
        InputError, match="The labels of the test images of PASCAL VOC are not public.* use train or val"
    ):
        PascalVoc(tmp_path, "test")
    with pytest.raises(
        InputError,
        match=r"SegmentationClass/2007_000032\.png cannot be found \(2 files .* http://host\.robots\.ox\.ac\.uk",
    ):
        PascalVoc(tmp_path, "train")
    (folder / "ImageSets" / "Segmentation" / "test.txt").unlink()
    with pytest.raises(InputError, match="The labels of the test images of PASCAL VOC are not public"):
        PascalVoc(tmp_path, "test")
    (folder / "ImageSets" / "Segmentation" / "val.txt").write_text("\n")
    with pytest.raises(InputError, match=r"val\.txt lists no image"):
        PascalVoc(tmp_path, "val")
    with pytest.raises(InputError, match="does not hold PASCAL VOC, whose folders are JPEGImages and ImageSets/Segm"):
        PascalVoc(folder / "JPEGImages", "val")


def test_pascal_voc_refuses_labels_of_another_size_and_unknown_ids(tmp_path):
    folder = write_voc(tmp_path, LISTS)
    save(folder / "SegmentationClass" / "2007_000032.png", mask(21))
    with pytest.raises(InputError, match=r"2007_000032\.png: the label id 21 at row 0, column 0 is not in class table"):
        PascalVoc(tmp_path, "train").label(0)
    save(folder / "SegmentationClass" / "2007_000032.png", mask(1)[:2])
    with pytest.raises(InputError, match=r"2007_000032\.png is 2x6 pixels .*2007_000032\.jpg is 4x6; bring both to"):
        PascalVoc(tmp_path, "train")


def test_pascal_voc_sbd_label_of_another_size(tmp_path):
    write_voc(tmp_path, {**LISTS, "more": ["2008_000008"]})
    write_sbd(tmp_path, {"2008_000008": mask(1)[:2]})
    dataset = PascalVoc(tmp_path, "train_aug")
    with pytest.raises(InputError, match=r"2008_000008\.mat is 2x6 pixels .*2008_000008\.jpg is 4x6; copy both again"):
        dataset.label(2)


def test_read_sbd_refuses_other_files(tmp_path):
    savemat(tmp_path / "other.mat", {"GTinst": {"Segmentation": mask(1)}})
    (tmp_path / "hdf5.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF" + bytes(600))
    (tmp_path / "half.mat").write_bytes((tmp_path / "other.mat").read_bytes()[:150])
    (tmp_path / "text.mat").write_text("hello")
    for name in ("other", "hdf5", "half", "text", "absent"):
        with pytest.raises(InputError, match=rf"{name}\.mat cannot be read as a label file of SBD, a MATLAB file of"):
            read_sbd(tmp_path / f"{name}.mat")


def test_pascal_voc_real_pairs(samples_root):
    root = samples_root / "voc2012"
    for split, name, shape, label in (
        ("train", "2007_004189", (333, 500), "dog"),
        ("val", "2007_006449", (375, 500), "bicycle"),
    ):
        dataset = PascalVoc(root, split)
        assert (dataset.names, dataset.shape(0)) == ([name], shape)
        labels = dataset.label(0)
        assert [VOC21.names[i] for i in np.unique(labels) if i != VOID] == ["background", label]
        palette = np.array(Image.open(root / f"VOCdevkit/VOC2012/SegmentationClass/{name}.png").convert("RGB"))
        kept = labels != VOID
        np.testing.assert_array_equal(VOC21.colors[labels[kept]], palette[kept])
        assert {tuple(color) for color in palette[~kept]} == {VOC21.void_color}


def test_read_sbd_refuses_values_that_are_no_class(tmp_path):
    folder = write_sbd(tmp_path, {"a": np.full(SIZE, 261, np.uint16)})
    with pytest.raises(InputError, match=r"a\.mat holds 261, which is no class of SBD"):
        read_sbd(folder / "a.mat")
