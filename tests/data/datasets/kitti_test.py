"""Tests for segnet_jax/data/datasets/kitti.py."""

import logging

import numpy as np
import pytest

from segnet_jax.data.class_table import VOID
from segnet_jax.data.datasets.camvid import CAMVID11
from segnet_jax.data.datasets.kitti import KITTI8, ROS11, Kitti, is_for_validation
from segnet_jax.data.faults import collected
from segnet_jax.data.image_files import read_mask
from segnet_jax.errors import InputError
from tests.helpers.folder_files import save
from tests.helpers.outdoor_files import SIZE, image, mask, write_kitti, write_ros

STATIC_CLASSES = ["Sky", "Building", "Road", "Sidewalk", "Fence", "Vegetation", "Pole", "Sign"]


def test_kitti_tables():
    assert ROS11.names == [*STATIC_CLASSES[:7], "Car", "Sign", "Pedestrian", "Cyclist"]
    assert KITTI8.names == STATIC_CLASSES
    assert KITTI8.colors.tolist() == ROS11.colors[[*range(7), 8]].tolist()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_kitti_reads_the_benchmark(tmp_path, suffix):
    write_kitti(tmp_path / "data_semantics", suffix=suffix)
    train, val = Kitti(tmp_path), Kitti(tmp_path, "val")
    assert train.names == ["000000_10", "000009_10", "000050_10"]
    assert val.names == ["000040_10", "000049_10"]
    assert (train.name, val.split, train.class_table.name, val.shape(0)) == ("kitti", "val", "cityscapes19", SIZE)
    example = val[1]
    np.testing.assert_array_equal(example["image"], image(49))
    np.testing.assert_array_equal(example["label"], mask(VOID, 16, 9, 13))  # unlabeled, train, terrain, car
    np.testing.assert_array_equal(val.label(1), example["label"])
    assert train.fingerprint() != val.fingerprint()


def test_kitti_benchmark_in_other_classes(tmp_path):
    write_kitti(tmp_path)
    camvid, paper = Kitti(tmp_path, class_set="camvid11"), Kitti(tmp_path, class_set="kitti8")
    assert (camvid.class_table, paper.class_table) == (CAMVID11, KITTI8)
    np.testing.assert_array_equal(camvid.label(0), mask(VOID, VOID, 5, 8))
    np.testing.assert_array_equal(paper.label(0), mask(VOID, VOID, 5, VOID))


def test_is_for_validation_takes_whole_blocks():
    def taken(fraction):
        return [n for n in range(200) if is_for_validation(f"{n:06}_10", fraction)]

    assert taken(0.2) == [*range(40, 50), *range(90, 100), *range(140, 150), *range(190, 200)]
    assert taken(0.1) == [*range(90, 100), *range(190, 200)]
    assert taken(0.0) == []
    assert all(len(taken(blocks / 20)) == 10 * blocks for blocks in range(20))


def test_kitti_says_how_many_images_are_there(tmp_path, caplog):
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        Kitti(write_kitti(tmp_path))
    assert "holds only 5 of the 200 labelled images of KITTI (training)" in caplog.text


@pytest.mark.parametrize("folder", ["GT_ind", "GT"])
def test_kitti_reads_the_layout_of_ros(tmp_path, folder):
    label = mask(*range(12))
    if folder == "GT":
        label = np.append(ROS11.colors, np.zeros((1, 3), np.uint8), axis=0)[label]
    write_ros(tmp_path / "KITTI_SEMANTIC", label, folder)
    train, val = Kitti(tmp_path), Kitti(tmp_path, "val")
    assert (train.names, val.names) == (["000002", "000010"], ["000005"])
    assert train.class_table == ROS11
    np.testing.assert_array_equal(train[1]["image"], image(10))
    np.testing.assert_array_equal(train[1]["label"], mask(*range(11), VOID))
    mapped = Kitti(tmp_path, class_set="camvid11").label(0).ravel()[:12]
    other = {"Sidewalk": "Pavement", "Vegetation": "Tree", "Sign": "SignSymbol", "Cyclist": "Bicyclist"}
    assert [CAMVID11.names[i] for i in mapped[:11]] == [other.get(name, name) for name in ROS11.names]
    assert mapped[11] == VOID
    paper = Kitti(tmp_path, class_set="kitti8").label(0).ravel()[:12]
    assert paper.tolist() == [0, 1, 2, 3, 4, 5, 6, VOID, 7, VOID, VOID, VOID]


def test_kitti_prefers_indices_to_colours(tmp_path):
    write_ros(tmp_path, np.zeros((*SIZE, 3), np.uint8), "GT")
    write_ros(tmp_path, mask(1), "GT_ind")
    assert Kitti(tmp_path).label(0).max() == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "test"}, "The labels of the test images of KITTI are not public"),
        ({"split": "all"}, "KITTI has no split 'all'; use one of train, val"),
        ({"class_set": "ros11"}, r"'ros11' is not known to kitti in .*; choose cityscapes19 or camvid11 or kitti8"),
        ({"split": "val", "val_fraction": 0.0}, "val gets none of the images .* with data.val_fraction=0.0; change it"),
    ],
)
def test_kitti_refuses_splits_and_classes_that_are_not_there(tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        Kitti(write_kitti(tmp_path), **options)


def test_kitti_of_ros_has_other_class_sets(tmp_path):
    with pytest.raises(InputError, match="choose ros11 or camvid11 or kitti8"):
        Kitti(write_ros(tmp_path, mask(0)), class_set="cityscapes19")


def test_kitti_refuses_missing_and_misnamed_files(tmp_path):
    with pytest.raises(
        InputError,
        match="does not hold KITTI, whose folders are training/image_2 and training/semantic, or else Training_00/RGB "
        "and Validation_07/RGB; .*https://www.cvlibs.net/datasets/kitti/eval_semantics.php",
    ):
        Kitti(tmp_path)
    root = write_kitti(tmp_path)
    (root / "training/image_2/000009_10.png").unlink()
    with pytest.raises(InputError, match=r"image_2/000009_10\.png cannot be found \(1 files .*cvlibs\.net"):
        Kitti(root)
    save(root / "training" / "semantic" / "9.png", mask(0))
    with pytest.raises(InputError, match=r"training/semantic has 9\.png, but KITTI's names are such as 000017_10"):
        Kitti(root)


def test_kitti_refuses_labels_of_another_size_and_unknown_ids(tmp_path):
    root = write_kitti(tmp_path)
    save(root / "training" / "semantic" / "000000_10.png", mask(77))
    with pytest.raises(InputError, match=r"semantic/000000_10\.png: the label id 77 at row 0, column 0 is not in"):
        Kitti(root).label(0)
    save(root / "training" / "semantic" / "000000_10.png", mask(0)[:, :5])
    with pytest.raises(InputError, match=r"semantic/000000_10\.png is 4x5 pixels .*000000_10\.png is 4x6; bring both"):
        Kitti(root)


def test_kitti_real_pairs(samples_root):
    root = samples_root / "kitti_semantics"
    train, val = Kitti(root), Kitti(root, "val")
    assert (train.names, val.names) == (["000000_10", "000020_10", "000060_10"], ["000040_10"])
    assert {train.shape(i) for i in range(3)} == {(375, 1242)}
    colors = read_mask(root / "training" / "semantic_rgb" / "000040_10.png")
    example = val[0]
    kept = example["label"] != VOID
    assert kept.mean() > 0.9
    # The benchmark's own colours are those of the table.
    np.testing.assert_array_equal(val.class_table.colors[example["label"][kept]], colors[kept])


def test_kitti_real_labels_of_ros(tmp_path, samples_root):
    sample = samples_root / "kitti_ros_style"
    for folder in ("Training_00", "Validation_07"):
        for kind, name in (("RGB", "000099.png"), ("GT", "segm_gt_000099.png")):
            (tmp_path / folder / kind).mkdir(parents=True)
            (tmp_path / folder / kind / "000099.png").symlink_to(sample / name)
    labels = Kitti(tmp_path).label(0)
    assert labels.shape == (370, 1226)
    found = [ROS11.names[i] for i in np.unique(labels) if i != VOID]
    assert found == ["Sky", "Building", "Road", "Sidewalk", "Vegetation", "Car"]
    sky, building, road = (np.argwhere(labels == k)[:, 0].mean() for k in range(3))
    assert sky < building < road


def test_kitti_within_collected_names_files_without_a_counterpart(tmp_path):
    """An image of the benchmark without a label, and a name not its own; of Ros et al. a label without an image."""
    training = write_kitti(tmp_path / "benchmark", numbers=(0, 1, 2)) / "training"
    (training / "semantic" / "000001_10.png").unlink()
    save(training / "semantic" / "foo.png", mask(0))
    with collected() as found:
        dataset = Kitti(tmp_path / "benchmark", "train", val_fraction=0.0)
    assert dataset.names == ["000000_10", "000002_10"]
    assert found == [
        f"{training / 'semantic' / 'foo.png'} is none of KITTI's.",
        f"{training / 'semantic' / '000001_10.png'} cannot be found.",
    ]
    write_ros(tmp_path / "ros", mask(0))
    save(tmp_path / "ros" / "Training_00" / "GT_ind" / "000777.png", mask(0))
    with collected() as found:
        Kitti(tmp_path / "ros", "train")
    assert found == [f"{tmp_path / 'ros' / 'Training_00' / 'RGB' / '000777.png'} cannot be found."]
