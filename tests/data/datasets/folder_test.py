"""Tests for segnet_jax/data/datasets/folder.py."""

import logging
import pickle

import numpy as np
import pytest
from PIL import Image

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.first_reading import check_examples
from segnet_jax.errors import InputError
from segnet_jax.evaluation.missing_input import evaluate_missing
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.folder_files import SIZE, TABLE, open_all, save, write
from tests.helpers.tiff import save_bands
from tests.helpers.tiny_config import make_tiny_config

RGBD = ("rgb", "depth")


def write_with_depth(folder, stems):
    """Images whose depth tells them, and the pixels of each, apart."""
    for index, stem in enumerate(stems):
        save(folder / "depth" / f"{stem}.png", np.arange(24, dtype=np.uint8).reshape(SIZE) + 100 * index)
    return write(folder, stems, ".jpg")


def test_folder_examples(tmp_path):
    root = write(tmp_path / "street", ["b", "a"])
    mask = np.full(SIZE, 5, np.uint8)
    mask[1, 2] = 255
    save(root / "masks" / "b.png", mask)
    dataset = open_all(root)
    assert (dataset.name, dataset.split, dataset.names) == ("street", "train", ["a", "b"])
    assert dataset.class_table is TABLE
    assert len(dataset) == 2
    assert dataset.shape(1) == SIZE
    example = dataset[1]
    assert example["name"] == "b"
    np.testing.assert_array_equal(example["image"], np.full((*SIZE, 3), 0))
    expected = np.full(SIZE, 1)
    expected[1, 2] = VOID
    assert example["label"].dtype == np.uint8
    np.testing.assert_array_equal(example["label"], expected)


def test_folder_each_mask_says_itself_how_it_is_encoded(tmp_path):
    root = write(tmp_path, ["gray", "palette", "colors", "wide"])
    indexed = Image.frombytes("P", SIZE[::-1], np.full(SIZE, 5, np.uint8).tobytes())
    indexed.putpalette(list(range(30)))
    indexed.save(root / "masks" / "palette.png")
    save(root / "masks" / "colors.png", np.full((*SIZE, 3), (0, 0, 142), np.uint8))
    save(root / "masks" / "wide.png", np.full(SIZE, 5, np.uint16))
    dataset = open_all(root)
    labels = {name: dataset.label(i) for i, name in enumerate(dataset.names)}
    assert {name: label.max() for name, label in labels.items()} == {"gray": 0, "palette": 1, "colors": 1, "wide": 1}


def test_folder_images_may_be_of_many_kinds(tmp_path):
    for index, suffix in enumerate([".jpg", ".JPEG", ".png", ".Bmp", ".tif", ".tiff", ".webp"]):
        write(tmp_path, [f"i.{index}"], suffix)
    (tmp_path / "images" / ".DS_Store").touch()
    (tmp_path / "images" / "._i.0.jpg").touch()
    (tmp_path / "images" / "notes.txt").touch()
    dataset = open_all(tmp_path)
    assert dataset.names == [f"i.{index}" for index in range(7)]
    assert dataset[0]["image"].shape == (*SIZE, 3)


def test_folder_mask_suffix(tmp_path):
    write(tmp_path, ["a", "b_mask"], mask_suffix="_mask")
    assert open_all(tmp_path, mask_suffix="_mask").names == ["a", "b_mask"]
    with pytest.raises(InputError, match='set mask_suffix to "_mask"'):
        open_all(tmp_path)


def test_folder_splits_in_folders_of_their_own(tmp_path):
    write(tmp_path / "train", ["a", "b"])
    write(tmp_path / "val", ["c"])
    assert open_all(tmp_path).names == ["a", "b"]
    assert Folder(tmp_path, "val", TABLE).names == ["c"]
    with pytest.raises(InputError, match=r"test/images does not exist; .* \(train, val\)"):
        Folder(tmp_path, "test", TABLE)


def test_folder_lists_give_the_split_and_its_order(tmp_path):
    write(tmp_path, ["a", "b", "c.d", "e"], ".jpg")
    save(tmp_path / "images" / "without a mask.jpg", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "train.txt").write_text("c.d\r\n\r\na.jpg\r\n")
    (tmp_path / "val.txt").write_text("images/b.jpg\n")
    assert Folder(tmp_path, "train", TABLE).names == ["c.d", "a"]
    assert Folder(tmp_path, "val", TABLE).names == ["b"]
    with pytest.raises(InputError, match=r"test\.txt does not exist; .* \(train, val\)"):
        Folder(tmp_path, "test", TABLE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"train\.txt lists no image; write one stem"),
        ("a\nz.jpg\n", r"Line 2 of .*train\.txt names 'z\.jpg', which is not in .*images"),
        ("a\nb\na.jpg\n", r"Line 3 of .*train\.txt names 'a\.jpg' again, after line 1"),
        ("a\nc\n", r"1 masks that do not pair up, with no mask for c\.jpg"),
    ],
)
def test_folder_faulty_list_is_refused(tmp_path, text, message):
    write(tmp_path, ["a", "b", "c"], ".jpg")
    (tmp_path / "masks" / "c.png").unlink()
    (tmp_path / "train.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        Folder(tmp_path, "train", TABLE)


def test_folder_images_shared_with_the_training_list_are_reported(tmp_path, caplog):
    write(tmp_path, ["a", "b", "c"])
    (tmp_path / "train.txt").write_text("a\nb\n")
    (tmp_path / "val.txt").write_text("c\nb\n")
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        Folder(tmp_path, "train", TABLE)
        assert not caplog.records
        Folder(tmp_path, "val", TABLE)
    assert "val.txt and train.txt share 1 images (b)" in caplog.text


def test_folder_hash_splits_every_image_once_and_for_all(tmp_path):
    stems = [f"frame{i}" for i in range(200)]
    write(tmp_path, stems[:100])
    train, val = (set(Folder(tmp_path, split, TABLE, 0.2).names) for split in ("train", "val"))
    assert train | val == set(stems[:100])
    assert not train & val
    write(tmp_path, stems[100:])
    more_train, more_val = (set(Folder(tmp_path, split, TABLE, 0.2).names) for split in ("train", "val"))
    assert train < more_train
    assert val < more_val
    assert 20 < len(more_val) < 60  # 40 expected; 3.5 standard deviations
    assert more_val < set(Folder(tmp_path, "val", TABLE, 0.5).names)


def test_folder_hash_is_pinned(tmp_path):
    """A change here moves images of every user between training and validation: never update it."""
    write(tmp_path, [f"frame{i}" for i in range(20)])
    # Those whose `printf frame5 | sha256sum` begins with less than 3333.
    assert Folder(tmp_path, "val", TABLE, 0.2).names == ["frame12", "frame5", "frame7", "frame8"]


def test_folder_splits_that_cannot_be_are_refused(tmp_path):
    write(tmp_path, ["a", "b"])
    with pytest.raises(InputError, match="val gets none of the 2 images .* val_fraction 0.0; change val_fraction"):
        Folder(tmp_path, "val", TABLE, val_fraction=0.0)
    with pytest.raises(InputError, match=r"no test split; list its images in .*test\.txt"):
        Folder(tmp_path, "test", TABLE)
    with pytest.raises(InputError, match="no split 'training'; use one of train, val, test"):
        Folder(tmp_path, "training", TABLE)


def test_folder_folders_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        open_all(tmp_path / "nowhere")
    with pytest.raises(InputError, match="holds nothing; it needs the folders images and masks"):
        open_all(tmp_path)
    for name in "abcde":
        (tmp_path / name).mkdir()
    with pytest.raises(InputError, match="holds a, b, c and 2 more; it needs"):
        open_all(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(InputError, match="masks does not exist; add this folder"):
        open_all(tmp_path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(InputError, match="images holds no image"):
        open_all(tmp_path)


def test_folder_files_without_a_counterpart_are_named(tmp_path):
    write(tmp_path, list("abcdefg"), ".jpg")
    for stem in "bcdef":
        (tmp_path / "masks" / f"{stem}.png").unlink()
    (tmp_path / "images" / "a.jpg").unlink()
    message = (
        r"images holds 6 images and .*masks 2 masks that do not pair up, with no mask for b\.jpg, c\.jpg, "
        r"d\.jpg and 2 more and no image for a\.png; add what is missing"
    )
    with pytest.raises(InputError, match=message):
        open_all(tmp_path)
    write(tmp_path, ["b"], ".PNG")
    with pytest.raises(InputError, match=r"images/b\.jpg and b\.PNG differ only in their ending"):
        open_all(tmp_path)


def test_folder_masks_that_are_no_png_are_noticed(tmp_path):
    write(tmp_path, ["a"], ".jpg")
    (tmp_path / "masks" / "a.png").rename(tmp_path / "masks" / "a.gif")
    with pytest.raises(
        InputError, match=r"1 images and .*masks 0 masks .*; save the masks as PNG files, such as a\.png"
    ):
        open_all(tmp_path)


def test_folder_sizes_are_compared_before_training(tmp_path):
    write(tmp_path, ["a", "b"])
    save(tmp_path / "masks" / "b.png", np.full((4, 5), 3, np.uint8))
    with pytest.raises(
        InputError, match=r"masks/b\.png is 4x5 .* image .*images/b\.png is 4x6; bring both to one size"
    ):
        open_all(tmp_path)


def test_check_examples_reads_every_mask(tmp_path):
    write(tmp_path, [f"{i:02}" for i in range(12)])
    dataset = open_all(tmp_path)
    check_examples(dataset)
    mask = np.full(SIZE, 3, np.uint8)
    mask[2, 5] = 4
    for name in ("11", "07"):
        save(tmp_path / "masks" / f"{name}.png", mask)
    with pytest.raises(InputError, match=r"masks/07\.png: the label id 4 at row 2, column 5 .* 'street'.* 3, 5, 255;"):
        check_examples(dataset)


def test_folder_without_classes_names_the_command_that_finds_them(tmp_path):
    write(tmp_path / "my street", ["a"])
    with pytest.raises(InputError, match=r"check --root='.*my street' --write=mine\.py look at all masks"):
        Folder(tmp_path / "my street", "train", None, val_fraction=0.0)


def test_folder_scales_images_of_16_bits(tmp_path):
    save(write(tmp_path, ["a", "b"]) / "images" / "a.png", np.full(SIZE, 2048, np.uint16))
    dataset = open_all(tmp_path, image_max=4096)
    assert (dataset[0]["image"] == 128).all()
    assert (dataset[1]["image"] == 1).all()
    assert len({dataset.fingerprint(), open_all(tmp_path).fingerprint()}) == 2


def test_folder_pickle_and_fingerprint(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    plain, deep = open_all(root), open_all(root, modalities=RGBD)
    copy = pickle.loads(pickle.dumps(deep))
    np.testing.assert_array_equal(copy[1]["image"], deep[1]["image"])
    assert copy.shape(0) == SIZE
    before = plain.fingerprint()
    prints = {before, deep.fingerprint(), open_all(root, modalities=RGBD, depth_max=9).fingerprint()}
    assert copy.fingerprint() in prints
    save(root / "depth" / "b.png", np.zeros(SIZE, np.uint16))
    assert plain.fingerprint() == before
    prints.add(deep.fingerprint())
    save(root / "masks" / "a.png", np.zeros(SIZE, np.uint16))
    assert len(prints | {plain.fingerprint()}) == 5


def test_folder_depth_is_the_fourth_channel(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    save(root / "depth" / "b.png", np.full(SIZE, 2570, np.uint16))
    save(root / "depth" / "of no image.png", np.zeros((1, 1), np.uint8))
    plain, dataset = open_all(root), open_all(root, modalities=RGBD)
    assert (plain.modalities, dataset.modalities) == ((3,), (3, 1))
    assert plain[0]["image"].shape == (*SIZE, 3)
    for index, depth in enumerate((np.arange(24).reshape(SIZE), np.full(SIZE, 10))):
        image = dataset[index]["image"]
        assert (image.dtype, image.shape) == (np.uint8, (*SIZE, 4))
        np.testing.assert_array_equal(image[..., :3], plain[index]["image"])
        np.testing.assert_array_equal(image[..., 3], depth)
    assert (open_all(root, modalities=RGBD, depth_max=2570)[1]["image"][..., 3] == 255).all()
    check_examples(dataset)


def test_folder_only_the_images_of_a_list_need_depth(tmp_path):
    write_with_depth(tmp_path, ["a", "b"])
    (tmp_path / "depth" / "a.png").unlink()
    (tmp_path / "train.txt").write_text("b\n")
    assert Folder(tmp_path, "train", TABLE, modalities=RGBD)[0]["image"][0, 0, 3] == 100


def test_folder_faulty_depth_is_refused(tmp_path):
    root = write_with_depth(tmp_path / "train", ["a", "b"])
    path = root / "depth" / "b.png"
    save(path, np.zeros((4, 5), np.uint8))
    with pytest.raises(InputError, match=r"depth/b\.png is 4x5 pixels .* its image .*images/b\.jpg is 4x6; bring both"):
        open_all(tmp_path, modalities=RGBD)
    path.unlink()
    with pytest.raises(InputError, match=r"depth lacks b\.png, one for each image; .* out of data\.modalities"):
        open_all(tmp_path, modalities=RGBD)
    write(tmp_path / "val", ["c"])
    with pytest.raises(InputError, match=r"val/depth does not exist; add this folder"):
        Folder(tmp_path, "val", TABLE, modalities=RGBD)


def test_folder_images_may_be_of_any_modalities(tmp_path):
    """Each channel tells its modality, and `a` from `b`."""
    for index, stem in enumerate("ab"):
        save(tmp_path / "thermal" / f"{stem}.png", np.full(SIZE, 257 * (50 + index), np.uint16))
        save(tmp_path / "depth" / f"{stem}.png", np.full(SIZE, 60 + index, np.uint8))
        save(tmp_path / "normals" / f"{stem}.tif", np.full((*SIZE, 3), (70 + index, 80, 90), np.uint8))
        save(tmp_path / "masks" / f"{stem}.png", np.full(SIZE, 3, np.uint8))
    cases = {
        ("depth",): ((1,), [61]),
        ("normals",): ((3,), [71, 80, 90]),
        ("normals", "thermal", "depth"): ((3, 1, 1), [71, 80, 90, 51, 61]),
    }
    for names, (channels, values) in cases.items():
        dataset = open_all(tmp_path, modalities=names)
        assert (dataset.modality_names, dataset.modalities, dataset.names) == (names, channels, ["a", "b"])
        image = dataset[1]["image"]
        assert (image.dtype, image.shape) == (np.uint8, (*SIZE, len(values)))
        assert (image == values).all()
        assert dataset.shape(1) == SIZE
    with pytest.raises(InputError, match="holds depth, masks, normals and 1 more; it needs the folders images"):
        open_all(tmp_path)
    write(tmp_path, ["a", "b"])
    dataset = open_all(tmp_path, modalities=("depth", "rgb"))
    assert dataset.modalities == (1, 3)
    assert dataset[1]["image"][0, 0].tolist() == [61, 1, 1, 1]
    save(tmp_path / "thermal" / "b.png", np.zeros((*SIZE, 3), np.uint8))
    with pytest.raises(InputError, match=r"thermal/b\.png is a PNG file of the mode RGB and no map of one channel"):
        open_all(tmp_path, modalities=("rgb", "thermal"))[1]
    (tmp_path / "thermal" / "a.png").unlink()
    with pytest.raises(InputError, match=r"thermal lacks a\.png, one for each image"):
        open_all(tmp_path, modalities=("rgb", "thermal"))


@pytest.mark.ci
def test_folder_run_learns_from_depth(tmp_path):
    """Depth alone tells the classes: the images are noise everywhere, and one class has a rough surface."""
    rng = np.random.default_rng(0)
    for index in range(12):
        split = tmp_path / "data" / ("train" if index < 8 else "val")
        rough = np.arange(24) >= rng.integers(6, 18)
        depth = 2000 + 2000 * rough * np.indices((16, 24)).sum(axis=0) % 4000
        save(split / "images" / f"{index}.png", rng.integers(0, 256, (16, 24, 3), np.uint8))
        save(split / "masks" / f"{index}.png", np.tile(rough, (16, 1)).astype(np.uint8))
        save(split / "depth" / f"{index}.png", depth.astype(np.uint16))
    config = make_tiny_config()
    config.update_from_flattened_dict(
        {
            "data.name": "folder",
            "data.root": str(tmp_path / "data"),
            "data.classes": ("smooth", "rough"),
            "data.modalities": RGBD,
            "data.depth_max": 5000,
            "augment.brightness": 0.2,
            "model.pairs": 1,
            "model.width_multiplier": 0.125,
            "model.name": "segnet_flat",
            "preprocessing": "lcn",
            "masking.modality": 0.5,
            "train.duration": "30 steps",
            "train.eval_every": "0 steps",
            "train.batch_size": 8,
        }
    )
    train_and_evaluate(config, tmp_path / "run")
    rows = evaluate_missing(tmp_path / "run", {"eval.missing_pixels": (0.0,), "eval.checkpoint": "latest"})
    _, without_rgb, without_depth = (row["global_accuracy"] for row in rows)
    assert without_rgb > without_depth + 0.2, rows


def test_folder_bands_are_the_images_and_lie_beside_rgb(tmp_path):
    """Each file tells its number, and each band itself."""
    for index, stem in enumerate("ab"):
        bands = (1000 * index + np.arange(5) + np.zeros((*SIZE, 1))).astype(np.int16)
        save_bands(tmp_path / "alone" / "Imgs" / f"{stem}.tif", bands, planes=index == 1)
        save_bands(tmp_path / "both" / "bands" / f"{stem}.tiff", bands)
        save(tmp_path / "alone" / "masks" / f"{stem}.png", np.full(SIZE, 3, np.uint8))
    write(tmp_path / "both", "ab")
    alone = open_all(tmp_path / "alone", modalities=("bands",))
    assert (alone.modalities, alone.modality_names, alone.names) == ((5,), ("bands",), ["a", "b"])
    assert alone[1]["image"].dtype == np.float32
    assert (alone[1]["image"] == 1000 + np.arange(5)).all()
    both = pickle.loads(pickle.dumps(open_all(tmp_path / "both", modalities=("rgb", "bands"))))
    assert both.modalities == (3, 5)
    assert both[1]["image"][2, 3].tolist() == [1, 1, 1, 1000, 1001, 1002, 1003, 1004]
    check_examples(both)


def test_folder_missing_depth_is_nan_and_its_size_is_compared(tmp_path):
    root = write_with_depth(tmp_path, ["a", "b"])
    plain = open_all(root, modalities=RGBD)
    dataset = open_all(root, modalities=RGBD, depth_missing=0)
    assert dataset.fingerprint() != plain.fingerprint()
    image = dataset[0]["image"]
    assert (image.dtype, image.shape) == (np.float32, (*SIZE, 4))
    assert np.isnan(image[..., 3]).sum() == 1 and np.isnan(image[0, 0, 3])
    np.testing.assert_array_equal(image[..., :3], plain[0]["image"][..., :3])
    np.testing.assert_array_equal(image[..., 3].ravel()[1:], np.arange(1, 24))
    for stem, height in (("a", 4), ("b", 5)):
        (root / "depth" / f"{stem}.png").unlink()
        save_bands(root / "depth" / f"{stem}.tif", np.full((height, 6, 1), 2.5, np.float32))
    with pytest.raises(InputError, match=r"depth/b\.tif is 5x6 pixels .* its image .*images/b\.jpg is 4x6; bring both"):
        open_all(root, modalities=RGBD)
    save_bands(root / "depth" / "b.tif", np.full((*SIZE, 1), 2.5, np.float32))
    assert (open_all(root, modalities=RGBD)[1]["image"][..., 3] == 2.5).all()
