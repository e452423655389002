"""Tests for segnet_jax/data/datasets/folder_layout.py."""

import os
import re

import numpy as np
import pytest

from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.datasets.folder_layout import find_files
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, TABLE, open_all, save, write


def touch(root, *names):
    """Empty files: the layout is found by names alone."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def found(root, split="train", mask_suffix="", depth=False):
    """The files of a split by name, as paths below `root`: image, mask and depth map."""
    files = find_files(root, split, 0.0, mask_suffix, depth)
    return {
        entry.name: tuple(
            path.relative_to(root).as_posix() for path in (entry.image, entry.mask, entry.depth) if path is not None
        )
        for entry in files
    }


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("img", "ann"),
        ("imgs", "labels"),
        ("Images", "annotations"),
        ("JPEGImages", "SegmentationClass"),
        ("image_2", "semantic_rgb"),
        ("images", "Label"),
    ],
)
def test_find_files_knows_other_names_of_the_folders(tmp_path, images, masks):
    touch(tmp_path, f"{images}/a.jpg", f"{masks}/a.png", "notes/b.png")
    assert found(tmp_path) == {"a": (f"{images}/a.jpg", f"{masks}/a.png")}
    touch(tmp_path, f"val/{images}/a.jpg", f"val/{masks}/a.png")
    (tmp_path / images).rename(tmp_path / "elsewhere")
    assert found(tmp_path, "val") == {"a": (f"val/{images}/a.jpg", f"val/{masks}/a.png")}


def test_find_files_takes_no_other_name_where_several_would_do(tmp_path):
    touch(tmp_path, "img/a.jpg", "Image/a.jpg", "ann/a.png", "labels/a.png")
    with pytest.raises(
        InputError, match=r"holds the folders Image, img, each of which may be images; rename the right"
    ):
        found(tmp_path)
    touch(tmp_path, "images/b.jpg")
    with pytest.raises(
        InputError, match=r"holds the folders ann, labels, each of which may be masks; rename the right"
    ):
        found(tmp_path)
    touch(tmp_path, "masks/b.png")
    assert found(tmp_path) == {"b": ("images/b.jpg", "masks/b.png")}


def test_find_files_looks_into_subfolders(tmp_path):
    touch(tmp_path, *(f"images/{name}.jpg" for name in ("b/2", "b/1", "a/1", "a/deep/er", "0")))
    touch(tmp_path, *(f"masks/{name}_m.png" for name in ("b/2", "b/1", "a/1", "a/deep/er", "0")))
    touch(tmp_path, *(f"depth/{name}.png" for name in ("b/2", "b/1", "a/1", "a/deep/er", "0")))
    touch(tmp_path, "images/.cache/x.jpg", "masks/b/another kind.png")
    files = found(tmp_path, mask_suffix="_m", depth=True)
    assert list(files) == ["0", "a/1", "a/deep/er", "b/1", "b/2"]
    assert files["a/1"] == ("images/a/1.jpg", "masks/a/1_m.png", "depth/a/1.png")
    with pytest.raises(InputError, match='set mask_suffix to "_m"'):
        found(tmp_path)


def test_find_files_follows_lists_into_subfolders(tmp_path):
    touch(tmp_path, *(f"images/{name}.jpg" for name in ("a/1", "b/1", "c.d", "e")))
    touch(tmp_path, *(f"masks/{name}.png" for name in ("a/1", "b/1", "c.d", "e")))
    (tmp_path / "train.txt").write_text("/home/me/images/b/1.jpg\na\\1\nimages/c.d\n")
    assert list(found(tmp_path)) == ["b/1", "a/1", "c.d"]
    (tmp_path / "train.txt").write_text("e\nimages/1.jpg\n")
    with pytest.raises(InputError, match=r"Line 2 of .*train\.txt names 'images/1\.jpg', which is not in .*images;"):
        found(tmp_path)


def test_find_files_pairs_cityscapes(tmp_path):
    for place in ("train/aachen/aachen_000000", "train/bochum/bochum_000000", "val/ulm/ulm_000001"):
        touch(tmp_path, f"leftImg8bit/{place}_000019_leftImg8bit.png")
        for kind in ("labelIds.png", "labelTrainIds.png", "color.png", "instanceIds.png", "polygons.json"):
            touch(tmp_path, f"gtFine/{place}_000019_gtFine_{kind}")
    assert list(found(tmp_path).values()) == [
        (
            f"leftImg8bit/train/{city}/{city}_000000_000019_leftImg8bit.png",
            f"gtFine/train/{city}/{city}_000000_000019_gtFine_labelIds.png",
        )
        for city in ("aachen", "bochum")
    ]
    assert list(found(tmp_path, "val")) == ["ulm/ulm_000001_000019"]
    ((_, mask),) = found(tmp_path, "val", mask_suffix="_gtFine_labelTrainIds").values()
    assert mask == "gtFine/val/ulm/ulm_000001_000019_gtFine_labelTrainIds.png"
    with pytest.raises(InputError, match=r"leftImg8bit/test does not exist; .* \(train, val\)"):
        found(tmp_path, "test")


def test_find_files_reads_the_lists_of_pascal_voc(tmp_path):
    touch(tmp_path, *(f"JPEGImages/2007_{i}.jpg" for i in range(5)), "SegmentationClass/2007_3.png")
    touch(tmp_path, "SegmentationObject/2007_3.png", "ImageSets/Segmentation/trainval.txt")
    (tmp_path / "ImageSets/Segmentation/train.txt").write_text("2007_3\n")
    assert found(tmp_path) == {"2007_3": ("JPEGImages/2007_3.jpg", "SegmentationClass/2007_3.png")}
    with pytest.raises(InputError, match=r"ImageSets/Segmentation/val\.txt does not exist"):
        found(tmp_path, "val")


@pytest.mark.parametrize("suffix", ["bmp", "tif", "TIFF"])
def test_folder_masks_may_be_bmp_or_tiff(tmp_path, suffix):
    write(tmp_path, ["a"])
    (tmp_path / "masks" / "a.png").unlink()
    save(tmp_path / "masks" / f"a.{suffix}", np.full(SIZE, 5, np.uint8))
    assert (open_all(tmp_path)[0]["label"] == 1).all()


def test_folder_refuses_a_pipe_among_the_images(tmp_path):
    write(tmp_path, ["a", "b"])
    (tmp_path / "images" / "b.png").unlink()
    os.mkfifo(tmp_path / "images" / "b.png")
    with pytest.raises(InputError, match=r"images/b\.png is a folder, a pipe or a device and no file; remove it"):
        open_all(tmp_path)


def test_folder_names_need_not_be_utf8(tmp_path):
    root = tmp_path / os.fsdecode(b"caf\xe9")
    write(root, [os.fsdecode(b"na\xefve")])
    dataset = open_all(root)
    assert [os.fsencode(name) for name in dataset.names] == [b"na\xefve"]
    assert dataset[0]["image"].shape == (*SIZE, 3)
    assert re.fullmatch("[0-9a-f]{64}", dataset.fingerprint())
    with pytest.raises(InputError, match="no test split"):
        Folder(root, "test", TABLE)
