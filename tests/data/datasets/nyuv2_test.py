"""Tests for segnet_jax/data/datasets/nyuv2.py."""

import pickle
import shutil

import numpy as np
import pytest
import scipy.io
from PIL import Image

from segnet_jax.data.class_table import VOID, UnknownLabelError
from segnet_jax.data.datasets.indoor_classes import INDOOR13, INDOOR14, NYUV2_40
from segnet_jax.data.datasets.nyuv2 import Nyuv2
from segnet_jax.errors import InputError
from tests.helpers.camvid_files import save
from tests.helpers.indoor_files import SIZE, Hdf5Writer, depths_of, images_of, labels_of, save_jpg, write_nyuv2

pytest.importorskip("h5py", reason="h5py comes with requirements-data.txt")
RGBD = ("rgb", "depth")
TO_13 = "12 5 6 1 4 9 10 12 13 6 8 6 13 10 6 13 6 7 7 5 7 3 2 6 11 7 7 7 7 7 7 6 7 7 7 7 7 7 6 7"
COARSE = np.array([int(number) for number in TO_13.split()])


def of_40(ids, mapped):
    """Labels of 40 classes as they should be, from the ids of the authors' file."""
    labels = np.full(ids.shape, VOID, np.int64)
    labels[ids > 0] = mapped[ids[ids > 0] - 1].astype(np.int64) - 1
    return labels


def of_13(labels, void=VOID):
    return np.where(labels == VOID, void, COARSE[np.minimum(labels, 39)] - 1)


@pytest.mark.parametrize("options", [{}, {"chunks": True, "compression": "gzip"}])
def test_nyuv2_authors_file(tmp_path, options):
    images, ids, _, _, mapped = write_nyuv2(tmp_path, **options)
    train, test = Nyuv2(tmp_path, "train"), Nyuv2(tmp_path, "test")
    assert (train.name, train.split, train.class_table) == ("nyuv2", "train", INDOOR13)
    assert (train.names, test.names) == (["0003", "0005"], ["0001", "0002", "0004"])
    assert (train.modalities, train.modality_names, train.shape(1)) == ((3,), ("rgb",), SIZE)
    example = pickle.loads(pickle.dumps(train))[1]
    assert (example["image"].dtype, example["label"].dtype, example["name"]) == (np.uint8, np.uint8, "0005")
    np.testing.assert_array_equal(example["image"], images[4])
    np.testing.assert_array_equal(example["label"], of_13(of_40(ids[4], mapped)))
    assert train.fingerprint() == Nyuv2(tmp_path, "train").fingerprint()
    with pytest.raises(IndexError):
        train.shape(2)


def test_nyuv2_class_sets(tmp_path):
    _, ids, _, _, mapped = write_nyuv2(tmp_path)
    fine = of_40(ids[2], mapped)
    assert (fine == VOID).any()
    for class_set, table, expected in (
        ("40", NYUV2_40, fine),
        ("13", INDOOR13, of_13(fine)),
        ("14", INDOOR14, of_13(fine, void=13)),
    ):
        dataset = Nyuv2(tmp_path, "train", class_set)
        assert dataset.class_table == table
        np.testing.assert_array_equal(dataset.label(0), expected)


@pytest.mark.parametrize("raw_depth", [False, True])
def test_nyuv2_depth_is_in_metres_with_holes_marked(tmp_path, raw_depth):
    images, _, metres, raw, _ = write_nyuv2(tmp_path)
    dataset = Nyuv2(tmp_path, "test", modalities=RGBD, raw_depth=raw_depth)
    assert (dataset.modalities, dataset.modality_names) == ((3, 1), RGBD)
    image = dataset[2]["image"]
    assert image.dtype == np.float32
    np.testing.assert_array_equal(image[..., :3], images[3])
    # In raw depth, 0 is not measured, and 10 m is where the authors cut it off.
    expected = np.where((raw[3] == 0) | (raw[3] == 10), np.nan, raw[3]) if raw_depth else metres[3]
    assert np.isnan(expected).sum() == (2 if raw_depth else 0)
    np.testing.assert_array_equal(image[..., 3], expected)


def write_lists(root, labels, split="train", depth_of=None):
    """The layout of lists; with `depth_of` a function from millimetres to what is stored."""
    lines = []
    for i, (image, label, depth) in enumerate(zip(images_of(5), labels, depths_of(5), strict=False)):
        save_jpg(root / "RGB" / f"{i}.jpg", image)
        save(root / "Label" / f"{i}.png", label)
        fields = [f"RGB/{i}.jpg", f"Label/{i}.png"]
        if depth_of:
            save(root / "Depth" / f"{i}.png", depth_of(depth))
            fields.insert(1, f"Depth/{i}.png")
        lines.append("\t".join(fields))
    (root / f"{split}.txt").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize(("held", "from_zero"), [(40, False), (40, True), (13, False), (13, True)])
def test_nyuv2_lists_of_either_numbering(tmp_path, held, from_zero):
    ids = labels_of(3, held)
    ids[0] %= 5  # the first label has no sign of the class set
    write_lists(tmp_path / "nyu", ids - np.uint8(from_zero), "test")
    dataset = Nyuv2(tmp_path, "test")  # the data may lie one folder deeper
    assert (dataset.names, dataset.shape(0)) == (["0", "1", "2"], SIZE)
    for i in range(3):
        labels = np.where(ids[i] == 0, VOID, ids[i].astype(int) - 1)
        np.testing.assert_array_equal(dataset[i]["label"], labels if held == 13 else of_13(labels))
        np.testing.assert_array_equal(dataset[i]["image"], np.array(Image.open(tmp_path / "nyu" / "RGB" / f"{i}.jpg")))
    if held == 40:
        assert Nyuv2(tmp_path, "test", "40").label(1).max() == VOID
        assert sorted(np.unique(Nyuv2(tmp_path, "test", "40").label(1)))[-2] == 39
    else:
        with pytest.raises(InputError, match=r"up to 1[23], .* for 40 classes fits .* data\.class_set to what"):
            Nyuv2(tmp_path, "test", "40")


def test_nyuv2_labels_from_1_with_0_and_255_unlabelled(tmp_path):
    for held in (13, 40):
        ids = labels_of(2, held)
        ids[:, 1, :4] = 255
        dataset = Nyuv2(write_lists(tmp_path / str(held), ids), "train", str(held))
        assert dataset.label(1).max() == VOID
        np.testing.assert_array_equal(
            dataset.label(1), np.where(np.isin(ids[1], (0, 255)), VOID, ids[1].astype(int) - 1)
        )


def test_nyuv2_reads_both_splits_alike(tmp_path):
    train, test = labels_of(2, 39, seed=1), labels_of(2, 20, seed=2)
    test[:, 0, 2] = 255
    write_lists(tmp_path, train)
    with pytest.raises(InputError, match=r"up to 39, without 255, .* as well as from 1 on; set data\.label_start to 0"):
        Nyuv2(tmp_path, "train", "40")
    write_lists(tmp_path / "both", train)
    for name in ("RGB", "Label"):  # both splits have files of the same names, in folders of their own
        (tmp_path / "both" / name).rename(tmp_path / "both" / f"train_{name}")
    lines = (tmp_path / "both" / "train.txt").read_text()
    (tmp_path / "both" / "train.txt").write_text(lines.replace("RGB/", "train_RGB/").replace("Label/", "train_Label/"))
    write_lists(tmp_path / "both", test, "test")
    for split, labels in (("train", train), ("test", test)):
        np.testing.assert_array_equal(Nyuv2(tmp_path / "both", split, "40").label(0), labels[0])
    (tmp_path / "both" / "Label" / "1.png").unlink()  # train does without
    assert len(Nyuv2(tmp_path / "both", "train", "40")) == 2
    save(tmp_path / "both" / "Label" / "0.png", np.full(SIZE, 40, np.uint8))
    save(tmp_path / "both" / "train_Label" / "0.png", np.full(SIZE, 255, np.uint8))
    with pytest.raises(InputError, match=r"up to 40, with 255, which for 40 classes differs between the splits; set"):
        Nyuv2(tmp_path / "both", "train", "40")


def test_nyuv2_label_start_says_how_labels_are_numbered(tmp_path):
    ids = labels_of(2, 9)
    write_lists(tmp_path, ids)
    for class_set in ("13", "40"):
        with pytest.raises(
            InputError, match=rf"up to 9, without 255, which for {class_set} classes fits .*label_start"
        ):
            Nyuv2(tmp_path, "train", class_set)
        first, second = (Nyuv2(tmp_path, "train", class_set, label_start=start) for start in (0, 1))
        np.testing.assert_array_equal(first.label(0), ids[0])
        np.testing.assert_array_equal(second.label(0), np.where(ids[0] == 0, VOID, ids[0].astype(int) - 1))
        assert first.fingerprint() != second.fingerprint()
    # The id 13 is none of 13 classes from 0 on, so there are more.
    write_lists(tmp_path, labels_of(2, 13))
    np.testing.assert_array_equal(
        Nyuv2(tmp_path, "train", label_start=0).label(0), of_13(labels_of(2, 13)[0].astype(int))
    )


def test_nyuv2_refuses_depth_in_another_unit(tmp_path):
    write_lists(tmp_path, labels_of(1, 40), depth_of=lambda millimetres: millimetres * 5 + 9000)
    with pytest.raises(
        InputError, match=r"Depth/0\.png would lie beyond 10 m with 1000 for one metre; set data\.depth_s"
    ):
        Nyuv2(tmp_path, "train", modalities=RGBD)[0]
    assert np.nanmax(Nyuv2(tmp_path, "train", modalities=RGBD, depth_scale=9000)[0]["image"][..., 3]) < 10


def test_nyuv2_refuses_a_file_of_other_content(tmp_path):
    for name, shape, message in (
        ("images/data", (6, 8, 3, 5), r"labeled\.mat holds no images; it is not the nyu_depth_v2_labeled\.mat that"),
        ("images", (6, 8, 5), r"images are of the shape \(6, 8, 5\) and not \(height, width, 3, count\); download"),
        ("images", (6, 8, 4, 5), r"images are of the shape \(6, 8, 4, 5\) and not"),
    ):
        write_nyuv2(tmp_path)
        with Hdf5Writer(tmp_path / "nyu_depth_v2_labeled.mat") as file:
            file.array(name, np.zeros(shape, np.uint8))
            file.array("labels", np.zeros((6, 8, 5), np.uint16))
        with pytest.raises(InputError, match=message):
            Nyuv2(tmp_path, "train")


def test_nyuv2_lists_with_depth(tmp_path):
    write_lists(tmp_path, labels_of(2, 40), depth_of=lambda millimetres: millimetres)
    dataset = Nyuv2(tmp_path, "train", modalities=RGBD)
    expected = np.where(depths_of(5)[1] == 0, np.nan, depths_of(5)[1] / 1000.0)
    np.testing.assert_allclose(dataset[1]["image"][..., 3], expected, rtol=1e-6)
    scaled = Nyuv2(tmp_path, "train", modalities=RGBD, depth_scale=5000)
    np.testing.assert_allclose(scaled[1]["image"][..., 3], expected / 5, rtol=1e-6)
    assert Nyuv2(tmp_path, "train")[0]["image"].shape == (*SIZE, 3)


def test_nyuv2_refuses_values_that_it_does_not_know(tmp_path):
    write_lists(tmp_path, labels_of(1, 40))
    for options, message in (
        ({"split": "val"}, r"NYUv2 has no split 'val'; use one of train, test"),
        (
            {"split": "test"},
            r"holds neither nyu_depth_v2_labeled\.mat, obtained from https://cs\.nyu\.edu.*, nor the list",
        ),
        ({"class_set": "37"}, r"data\.class_set='37', but nyuv2 has 13, 14, 40"),
        (
            {"modalities": ("rgb", "hha")},
            r"data\.modalities=\('rgb', 'hha'\), but nyuv2 has \('rgb',\) and \('rgb', 'd",
        ),
        ({"modalities": RGBD}, r"Line 1 of .*train\.txt is 'RGB.*; give the paths of image, depth and label"),
        (
            {"raw_depth": True, "modalities": RGBD},
            r"has one kind of depth, .* or get nyu_depth_v2_labeled\.mat from http",
        ),
    ):
        with pytest.raises(InputError, match=message):
            Nyuv2(tmp_path, **options)
    with pytest.raises(InputError, match=r"none is not a folder; set data\.root to that of NYUv2, obtained from https"):
        Nyuv2(tmp_path / "none")


@pytest.mark.parametrize(
    ("missing", "page"), [("splits.mat", "https://cs.nyu.edu"), ("classMapping40.mat", "https://github.com/ankurhanda")]
)
def test_nyuv2_names_the_file_that_is_missing(tmp_path, missing, page):
    write_nyuv2(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(InputError, match=rf"{missing} does not exist; it is obtained from {page}"):
        Nyuv2(tmp_path, "train")


def test_nyuv2_refuses_files_that_do_not_belong_together(tmp_path):
    write_nyuv2(tmp_path, train=(3, 6))
    with pytest.raises(
        InputError, match=r"splits\.mat lists images from 3 to 6, and nyu_depth.* holds 5; get both from"
    ):
        Nyuv2(tmp_path, "train")
    write_nyuv2(tmp_path)
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"mapClass": np.ones((1, 20), np.uint8)})
    with pytest.raises(
        InputError, match=r"image 0003: the label id \d+ is above the 20 names that classMapping40\.mat"
    ):
        Nyuv2(tmp_path, "train").label(0)
    scipy.io.savemat(tmp_path / "classMapping40.mat", {"mapClass": np.full((1, 894), 41, np.uint8)})
    with pytest.raises(
        UnknownLabelError, match=r"image 0003: the label id 41 at row 0.* is not in class table 'nyuv2_40"
    ):
        Nyuv2(tmp_path, "train").label(0)
    with Hdf5Writer(tmp_path / "nyu_depth_v2_labeled.mat") as file:
        file.array("images", np.zeros((6, 8, 3, 5), np.uint8))
        file.array("labels", np.zeros((6, 8, 5), np.uint16))
        file.array("depths", np.zeros((6, 9, 5), np.float32))
    with pytest.raises(
        InputError, match=r"depths are \(6, 9, 5\) and images \(6, 8, 3, 5\), so they do not belong toget"
    ):
        Nyuv2(tmp_path, "train", modalities=RGBD)
    with pytest.raises(
        InputError, match=r"labeled\.mat holds no rawDepths; it is not the nyu_depth_v2_labeled\.mat that"
    ):
        Nyuv2(tmp_path, "train", modalities=RGBD, raw_depth=True)
    scipy.io.savemat(tmp_path / "nyu_depth_v2_labeled.mat", {"images": np.zeros(3)})
    with pytest.raises(
        InputError, match=r"labeled\.mat is not of MATLAB's version 7\.3, .* download it again from https"
    ):
        Nyuv2(tmp_path, "train")


def test_nyuv2_refuses_depth_of_another_size_and_lost_files(tmp_path):
    write_lists(tmp_path, labels_of(2, 40), depth_of=lambda depth: depth[:, :-1])
    with pytest.raises(InputError, match=r"Depth/0\.png is 6x7 pixels .*RGB/0\.jpg is 6x8"):
        Nyuv2(tmp_path, "train", modalities=RGBD)
    shutil.rmtree(tmp_path / "Label")
    with pytest.raises(
        InputError, match=r"Label/0\.png does not exist \(2 of 4 files of the split are missing\); complete"
    ):
        Nyuv2(tmp_path, "train")


def real_images(samples_root):
    folder = samples_root / "nyuv2" / "full_640x480"
    depth = {
        number: np.array(Image.open(folder / f"{number}_depth_u16_div5000.png")) / 5000
        for number in ("000433", "000464")
    }
    depth["000001"] = np.load(folder / "000001_depth_m.npy")
    color = {number: folder / f"{number}_rgb.{'jpg' if number == '000001' else 'png'}" for number in depth}
    return folder, color, depth


def test_nyuv2_real_images_by_a_list(samples_root, tmp_path):
    folder, color, depth = real_images(samples_root)
    numbers = ["000433", "000464"]
    for name, label in (("train", "label40_0unlab"), ("test", "label40minus1_ignore255")):
        lines = [f"{color[n]} {folder}/{n}_depth_u16_div5000.png {folder}/{n}_{label}.png" for n in numbers]
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text("\n".join(lines))
    datasets = [Nyuv2(tmp_path / split, split, modalities=RGBD, depth_scale=5000) for split in ("train", "test")]
    for i, number in enumerate(numbers):
        # The same classes of either numbering of 40, and those of the file with 13.
        label = datasets[0].label(i)
        thirteen = np.array(Image.open(folder / f"{number}_label13_0unlab.png")).astype(int) - 1
        np.testing.assert_array_equal(np.where(label == VOID, -1, label.astype(int)), thirteen)
        other = datasets[1].label(i)
        np.testing.assert_array_equal(label[other != VOID], other[other != VOID])
        assert (other != VOID).mean() > 0.5
        metres = datasets[0][i]["image"][..., 3]
        np.testing.assert_array_equal(np.isnan(metres), depth[number] == 0)
        assert 0.8 < np.nanmin(metres) < np.nanmax(metres) < 6


def test_nyuv2_real_images_in_the_authors_layout(samples_root, tmp_path):
    folder, color, depth = real_images(samples_root)
    mapped = scipy.io.loadmat(samples_root / "nyuv2" / "classMapping40.mat")["mapClass"][0]
    # Of the 894 names, the first of each of the 40 classes.
    first = np.append(0, [int(np.flatnonzero(mapped == k)[0]) + 1 for k in range(1, 41)])
    numbers = ["000001", "000433", "000464"]
    labels = [np.array(Image.open(folder / f"{n}_label40_0unlab.png")) for n in numbers]
    with Hdf5Writer(tmp_path / "nyu_depth_v2_labeled.mat") as file:
        file.array("images", np.stack([np.array(Image.open(color[n])) for n in numbers], -1))
        file.array("labels", np.stack([first[label] for label in labels], -1).astype(np.uint16))
        file.array("rawDepths", np.stack([depth[n] for n in numbers], -1).astype(np.float32))
    shutil.copy(samples_root / "nyuv2" / "classMapping40.mat", tmp_path)
    shutil.copy(samples_root / "nyuv2" / "splits.mat", tmp_path)
    with pytest.raises(InputError, match=r"splits\.mat lists images from 3 to 1440, and nyu_depth_v2.* holds 3"):
        Nyuv2(tmp_path, "train")
    (tmp_path / "splits.mat").unlink()
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[1], [2], [3]], np.uint16)})
    dataset = Nyuv2(tmp_path, "train", modalities=RGBD, raw_depth=True)
    for i, number in enumerate(numbers):
        thirteen = np.array(Image.open(folder / f"{number}_label13_0unlab.png")).astype(int) - 1
        label = dataset.label(i)
        np.testing.assert_array_equal(np.where(label == VOID, -1, label.astype(int)), thirteen)
        metres = dataset[i]["image"][..., 3]
        np.testing.assert_allclose(metres, np.where(depth[number] == 0, np.nan, depth[number]), rtol=1e-6)
