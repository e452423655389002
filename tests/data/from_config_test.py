"""Tests for segnet_jax/data/from_config.py."""

import contextlib
import logging

import numpy as np
import pytest

from segnet_jax.config import check_values, default_config
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.camvid import CAMVID11, Camvid
from segnet_jax.data.datasets.indoor_classes import INDOOR13, NYUV2_40, SUNRGBD37
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.from_config import (
    build_class_weights,
    build_dataset,
    build_eval_dataset,
    build_host_batches,
    dataset_settings,
)
from segnet_jax.data.image_files import read_mask
from segnet_jax.data.mixture import Mixture
from segnet_jax.data.records.reader import Records
from segnet_jax.data.records.writer import prepare_records
from segnet_jax.data.resize import resize
from segnet_jax.errors import InputError
from tests.helpers.camvid_files import write_tutorial
from tests.helpers.folder_files import TABLE, open_all, save, write
from tests.helpers.indoor_files import write_nyuv2, write_toolbox
from tests.helpers.outdoor_files import SIZE, write_cityscapes, write_kitti, write_voc
from tests.helpers.record_folders import assert_same_examples


def config_with(**data):
    config = default_config()
    config.data.update(data)
    return config


CLASSES = ({"name": "road", "id": 3, "color": (128, 64, 128)}, {"name": "car", "id": 5, "color": (0, 0, 142)})


def test_build_dataset_synthetic():
    config = config_with(scene_size=(9, 12), train_scenes=5, eval_scenes=3)
    config.seed = 2
    train, val = build_dataset(config, "train"), build_dataset(config, "val")
    assert isinstance(train, SyntheticScenes)
    assert (len(train), len(val), train.shape(0), train.modalities) == (5, 3, (9, 12), (3,))
    assert train[1]["image"].tolist() == SyntheticScenes("train", (9, 12), 5, 2)[1]["image"].tolist()
    config.data.modalities = ("rgb", "depth")
    assert build_dataset(config, "val").modalities == (3, 1)


def test_build_dataset_camvid(tmp_path):
    root = str(write_tutorial(tmp_path))
    dataset = build_dataset(config_with(name="camvid", root=root, max_images=1), "train")
    assert (dataset.name, len(dataset), dataset[0]["name"]) == ("camvid", 1, "0001TP_006690")
    with pytest.raises(InputError, match=r"data\.modalities=\('depth',\), but camvid has \('rgb',\) alone"):
        build_dataset(config_with(name="camvid", root=root, modalities=("depth",)), "train")


def test_build_dataset_sunrgbd(tmp_path):
    pytest.importorskip("h5py", reason="h5py comes with requirements-data.txt")
    _, _, filled, raw = write_toolbox(tmp_path)
    config = config_with(name="sunrgbd", root=str(tmp_path), modalities=("rgb", "depth"))
    dataset = build_dataset(config, "test")
    assert (dataset.name, dataset.class_table, len(dataset)) == ("sunrgbd", SUNRGBD37, 2)
    assert dataset[1]["image"][3, 3, 3] == pytest.approx(filled[1, 3, 3] / 1000)
    config.data.update(class_set="13", raw_depth=True)
    dataset = build_dataset(config, "test")
    assert dataset.class_table == INDOOR13
    assert dataset[1]["image"][3, 3, 3] == pytest.approx(raw[1, 3, 3] / 1000)
    settings = dataset_settings(config)
    assert (settings["data.class_set"], settings["data.raw_depth"], settings["data.modalities"]) == (
        "13",
        True,
        ("rgb", "depth"),
    )
    with pytest.raises(InputError, match=r"data\.name=sunrgbd needs data\.root"):
        build_dataset(config_with(name="sunrgbd"), "test")


def test_build_dataset_nyuv2(tmp_path):
    pytest.importorskip("h5py", reason="h5py comes with requirements-data.txt")
    _, _, _, raw, _ = write_nyuv2(tmp_path)
    config = config_with(name="nyuv2", root=str(tmp_path))
    assert build_dataset(config, "train").class_table == INDOOR13
    assert dataset_settings(config)["data.label_start"] == -1
    with pytest.raises(InputError, match=r"data\.label_start=2 must be at least -1 and below 2"):
        check_values(config_with(label_start=2))
    lines = tmp_path / "lists"
    save(lines / "image.png", np.zeros((2, 2, 3), np.uint8))
    save(lines / "label.png", np.full((2, 2), 3, np.uint8))
    (lines / "train.txt").write_text("image.png label.png")
    listed = config_with(name="nyuv2", root=str(lines), label_start=0)
    assert build_dataset(listed, "train")[0]["label"].tolist() == [[3, 3], [3, 3]]
    config.data.update(class_set="40", raw_depth=True, modalities=("rgb", "depth"), max_images=1)
    dataset = build_dataset(config, "train")
    assert (dataset.class_table, len(dataset), dataset.modalities) == (NYUV2_40, 1, (3, 1))
    assert dataset[0]["image"][3, 3, 3] == raw[2, 3, 3]


def test_build_dataset_outdoor(tmp_path):
    lists = {"train": ["2007_000032"]}
    roots = {"cityscapes": write_cityscapes(tmp_path / "cityscapes"), "kitti": write_kitti(tmp_path / "kitti")}
    roots["pascal_voc"] = write_voc(tmp_path / "voc", lists)
    for name, root in roots.items():
        dataset = build_dataset(config_with(name=name, root=str(root)), "train")
        assert (dataset.name, dataset.shape(0)) == (name, SIZE)
        with pytest.raises(InputError, match=rf"data\.modalities=\('depth',\), but {name} has \('rgb',\) alone"):
            build_dataset(config_with(name=name, root=str(root), modalities=("depth",)), "train")
        if name != "pascal_voc":
            config = config_with(name=name, root=str(root), class_set="camvid11", image_size=(2, 3), resize="center")
            dataset = build_dataset(config, "train")
            assert (dataset.class_table, dataset.shape(0)) == (CAMVID11, (2, 3))
            assert dataset_settings(config)["data.class_set"] == "camvid11"
            assert hasattr(dataset, "fingerprint")
    config = config_with(name="kitti", root=str(roots["kitti"]), val_fraction=0.0)
    assert len(build_dataset(config, "train")) == 5


def test_build_dataset_folder(tmp_path, monkeypatch):
    write(tmp_path / "street", ["a", "b"], mask_suffix="_mask")
    monkeypatch.setenv("HOME", str(tmp_path))
    data = {"name": "folder", "root": "~/street", "classes": CLASSES, "mask_suffix": "_mask", "val_fraction": 0.0}
    dataset = build_dataset(config_with(**data), "train")
    assert (dataset.name, dataset.names) == ("street", ["a", "b"])
    assert dataset.class_table == ClassTable.from_entries("folder", CLASSES)
    assert (dataset[0]["label"] == 0).all()


def test_build_dataset_records(tmp_path):
    dataset = open_all(write(tmp_path / "street", ["a", "b"]))
    root = str(tmp_path / "records")
    prepare_records([dataset], root)
    records = build_dataset(config_with(name="records", root=root), "train")
    assert isinstance(records, Records)
    assert_same_examples(records, dataset)
    with pytest.raises(InputError, match=r"records in .*records were prepared with \('rgb',\)"):
        build_dataset(config_with(name="records", root=root, modalities=("rgb", "depth")), "train")
    with pytest.raises(InputError, match=f"prepared with \\({', '.join(TABLE.names)}\\)"):
        build_dataset(config_with(name="records", root=root, classes=CLASSES[:1]), "train")
    with_depth = SyntheticScenes("val", (9, 12), 2, depth=True)
    prepare_records([with_depth], str(tmp_path / "depth"))
    for modalities in (("rgb",), ("rgb", "depth")):
        config = config_with(name="records", root=str(tmp_path / "depth"), modalities=modalities)
        records = build_dataset(config, "val")
        assert_same_examples(records, with_depth)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"name": "cityscape"},
            "data.name='cityscape' is not known; choose one of synthetic, camvid, cityscapes, folder, sunrgbd, nyuv2, "
            "kitti, pascal_voc, records, mixture.",
        ),
        ({"name": "records"}, "data.name=records needs data.root, the folder that holds it."),
        (
            {"name": "camvid", "root": "x", "class_set": "13"},
            "data.name=camvid has no class sets to choose from; leave data.class_set empty.",
        ),
        (
            {"modalities": ("depth",)},
            "data.modalities=('depth',), but synthetic draws ('rgb',) and ('rgb', 'depth') alone.",
        ),
        ({"eval_scenes": 0}, "The split 'val' of synthetic is empty; give it images, or name another split."),
    ],
)
def test_build_dataset_refuses(data, message):
    with pytest.raises(InputError) as error:
        build_dataset(config_with(**data), "val")
    assert str(error.value) == message


def test_build_dataset_resizes_in_the_configured_way():
    scenes = build_dataset(config_with(scene_size=(20, 80), train_scenes=3), "train")
    for method in ("fit", "crop"):
        config = config_with(scene_size=(20, 80), train_scenes=3, image_size=(16, 16), resize=method, max_images=2)
        dataset = build_dataset(config, "train")
        assert (len(dataset), dataset.shape(1)) == (2, (16, 16))
        np.testing.assert_array_equal(dataset[1]["image"], resize(scenes[1], (16, 16), method)["image"])
        # The labels that class weights count are those of the data set, whatever the method.
        np.testing.assert_array_equal(dataset.label(1), scenes[1]["label"])


def test_build_dataset_says_when_training_images_are_stretched(caplog):
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        for size in ((10, 40), (10, 39), ()):
            build_dataset(config_with(scene_size=(20, 80), image_size=size), "val")
        build_dataset(config_with(scene_size=(20, 81), image_size=(10, 40)), "train")
        build_dataset(config_with(scene_size=(20, 80), image_size=(16, 16), resize="fit"), "train")
        build_dataset(config_with(scene_size=(20, 80), image_size=(16, 16)), "val")
        assert not caplog.records
        build_dataset(config_with(scene_size=(20, 80), image_size=(16, 16)), "train")
        build_dataset(config_with(scene_size=(80, 20), image_size=(15, 5)), "train")
    narrow, wide = (record.getMessage() for record in caplog.records)
    assert (
        "such as one of 20x80 (height x width), are resized to data.image_size, 16x16, in which all appears 4.00"
        in narrow
    )
    assert "times as narrow; data.resize=fit or crop" in narrow
    assert "1.33 times as wide" in wide


def test_build_host_batches_knows_the_modalities(tmp_path):
    for index in range(4):
        save(tmp_path / "normals" / f"{index}.png", np.full((4, 6, 3), (200, 60, 70), np.uint8))
        save(tmp_path / "depth" / f"{index}.png", np.full((4, 6), 9, np.uint8))
        save(tmp_path / "masks" / f"{index}.png", np.full((4, 6), 3, np.uint8))
    data = {"name": "folder", "root": str(tmp_path), "classes": CLASSES, "val_fraction": 0.0}
    config = config_with(**data, modalities=("normals", "depth"))
    config.augment.brightness = 0.5
    dataset = build_dataset(config, "train")
    with contextlib.closing(build_host_batches(config, dataset, batch_size=16)) as batches:
        image = next(batches)["image"]
    assert image.shape == (16, 4, 6, 4)
    # As they are, or in the mirror.
    assert {tuple(pixel) for pixel in image.reshape(-1, 4).tolist()} == {(200, 60, 70, 9), (55, 60, 70, 9)}


def test_dataset_settings():
    config = config_with(scene_size=(9, 12), train_scenes=5, eval_scenes=3)
    sizes = {"data.scene_size": (9, 12), "data.train_scenes": 5, "data.eval_scenes": 3}
    assert dataset_settings(config) == {"data.name": "synthetic", "seed": 0, **sizes}
    config.data.modalities, config.data.max_images = ("rgb", "depth"), 7
    assert dataset_settings(config) == {
        **{"data.name": "synthetic", "seed": 0, **sizes},
        **{"data.modalities": ("rgb", "depth"), "data.max_images": 7},
    }
    config = config_with(name="folder", root="here", modalities=("depth",), depth_max=10)
    assert dataset_settings(config) == {
        **{"data.name": "folder", "data.root": "here", "data.val_fraction": 0.1, "data.mask_suffix": ""},
        **{"data.image_max": 65535, "data.modalities": ("depth",), "data.depth_max": 10},
    }


def test_build_class_weights_computes_them_from_the_training_labels():
    config = config_with(train_scenes=3, scene_size=(20, 24))
    dataset = build_dataset(config, "train")
    labels = np.stack([dataset[i]["label"] for i in range(3)])
    # Eigen and Fergus 2015: median over the frequencies in images that hold the class, void among them.
    frequencies = []
    for value in [*range(10), 255]:
        images = (labels == value).any(axis=(1, 2))
        if images.any():
            frequencies.append(((labels == value).sum() / images.sum() / (20 * 24), value))
    median = np.median([frequency for frequency, _ in frequencies])
    weights = build_class_weights(config, dataset)
    for frequency, value in frequencies:
        if value < 10:
            assert weights[value] == pytest.approx(median / frequency, rel=1e-5)


STREET_MAP = (("road", "Road"), ("car", "Car"))
CAMVID = {"name": "camvid", "root": "camvid"}
STREET = {"name": "folder", "root": "street", "classes": CLASSES, "class_map": STREET_MAP}


def mixture_config(tmp_path, *entries, **data):
    """CamVid's tutorial files and a folder of two classes, as one data set."""
    write_tutorial(tmp_path / "camvid")
    write_tutorial(tmp_path / "camvid", "val", ("0001TP_006690", "0016E5_08159"))
    write(tmp_path / "street", ["a", "b", "c"])
    (tmp_path / "street" / "train.txt").write_text("a\nb\n")
    (tmp_path / "street" / "val.txt").write_text("c\n")
    entries = entries or ({**CAMVID, "weight": 3.0}, {**STREET, "weight": 1.0})
    return config_with(name="mixture", root=str(tmp_path), mixture=entries, **data)


def test_build_dataset_joins_the_data_sets_of_a_mixture_in_the_classes_of_the_first(tmp_path):
    dataset = build_dataset(mixture_config(tmp_path), "train")
    assert isinstance(dataset, Mixture)
    assert (dataset.name, len(dataset), dataset.weights) == ("camvid + street", 4, (3, 1))
    assert dataset.class_table == Camvid.class_table
    camvid = Camvid(tmp_path / "camvid", "train")
    for index in range(2):
        np.testing.assert_array_equal(dataset[index]["label"], camvid[index]["label"])
    np.testing.assert_array_equal(dataset[2]["label"], np.full((4, 6), 3))  # Road
    dataset = build_dataset(mixture_config(tmp_path, max_images=1, image_size=(6, 9), resize="fit"), "train")
    assert [len(part) for part in dataset.datasets] == [1, 1]
    assert dataset.shape(1) == dataset[1]["label"].shape == (6, 9)


def test_build_eval_dataset_takes_the_first_data_set_of_a_mixture_or_all(tmp_path):
    config = mixture_config(tmp_path)
    first = build_eval_dataset(config)
    assert (first.name, first.split, len(first), first.group(0)) == ("camvid", "val", 2, "dusk")
    config.eval.mixture = "all"
    everything = build_eval_dataset(config)
    assert [everything.group(i) for i in range(len(everything))] == ["camvid", "camvid", "street"]
    # Each may have a split of its own name.
    config = mixture_config(tmp_path, CAMVID, {**STREET, "eval_split": "train"})
    config.eval.mixture = "all"
    assert (len(build_eval_dataset(config)), build_eval_dataset(config).split) == (4, "val")
    assert len(build_dataset(config, "val")) == 4
    config.data.update(name="camvid", root=str(tmp_path / "camvid"))
    assert isinstance(build_eval_dataset(config), Camvid)


def test_build_dataset_has_a_mixture_in_classes_of_its_own(tmp_path):
    camvid = {**CAMVID, "class_map": (("Sky", "other"), ("Building", "street"))}
    street = {**STREET, "class_map": (("road", "street"),)}
    dataset = build_dataset(mixture_config(tmp_path, camvid, street, classes=("other", "street")), "train")
    assert dataset.class_table.names == ["other", "street"]
    assert [int(dataset.label(i)[1, 1]) for i in range(4)] == [0, 1, 1, 1]
    assert dataset.weights == (2, 2)  # the numbers of images


def test_build_dataset_takes_equal_names_in_a_mixture_for_equal_classes(tmp_path):
    # Other ids and colours, but the names of CamVid in their order.
    classes = tuple({"name": name, "id": i + 3} for i, name in enumerate(Camvid.class_table.names))
    street = {"name": "folder", "root": "street", "classes": classes}
    dataset = build_dataset(mixture_config(tmp_path, CAMVID, street), "train")
    assert [part.class_table for part in dataset.datasets] == [Camvid.class_table] * 2
    assert (dataset.label(2) == 0).all()


@pytest.mark.parametrize(
    ("class_map", "message"),
    [
        ((), r"^data.mixture\[1\]: the classes of street \(road, car\) are not those of the mixture .*class_map"),
        ((("lorry", "Car"),), r"^data.mixture\[1\]: class_map has the pair .* 'lorry' is none of road, car;"),
        ((("car", "Lorry"),), r"^data.mixture\[1\]: class_map has the pair .* 'Lorry' is none of Sky, "),
    ],
)
def test_build_dataset_refuses_the_classes_of_a_mixture(tmp_path, class_map, message):
    config = mixture_config(tmp_path, CAMVID, {**STREET, "class_map": class_map})
    with pytest.raises(InputError, match=message):
        build_dataset(config, "train")


def test_build_dataset_takes_records_into_a_mixture_and_prepares_none(tmp_path):
    config = mixture_config(tmp_path)
    with pytest.raises(InputError, match="^A mixture has no records of its own; prepare each of its data sets"):
        build_dataset(config, "train", at_own_size=True)
    prepare_records([Camvid(tmp_path / "camvid", "train")], str(tmp_path / "records"))
    records = {"name": "records", "root": "records", "weight": 3.0}
    found = []
    for mixture in (config, mixture_config(tmp_path, records, {**STREET, "weight": 1.0})):
        dataset = build_dataset(mixture, "train")
        with contextlib.closing(build_host_batches(mixture, dataset, batch_size=3)) as batches:
            found.append([next(batches) for _ in range(5)] + [{"weights": build_class_weights(mixture, dataset)}])
    for files, prepared in zip(*found, strict=True):
        for key, array in files.items():
            np.testing.assert_array_equal(array, prepared[key])


def test_build_class_weights_weighs_the_labels_of_a_mixture(tmp_path):
    # An epoch of four images has three of CamVid's two (Sky or Building, and a void pixel among 24) and one of the
    # street's, all Road: 34.5 pixels of each of the former, 24 of the latter, 3 of void.
    config = mixture_config(tmp_path)
    config.loss.class_weights = "inverse_frequency"
    dataset = build_dataset(config, "train")
    inverse = np.array([1 / 34.5, 1 / 34.5, 1 / 24])
    np.testing.assert_allclose(build_class_weights(config, dataset)[[0, 1, 3]], inverse / inverse.mean(), rtol=1e-6)
    config.loss.class_weights = "median_frequency"
    # Frequencies 23/24 twice, 1, and void 1/24: the median is 23/24.
    np.testing.assert_allclose(build_class_weights(config, dataset)[[0, 1, 3]], [1, 1, 23 / 24], rtol=1e-6)


def test_build_dataset_mixes_camvid_and_kitti_as_a_folder(camvid_root, kitti_root):
    # KITTI's own ids as a folder, in CamVid's classes.
    names = [f"id {i}" for i in range(34)]
    pairs = ((7, "Road"), (8, "Pavement"), (11, "Building"), (21, "Tree"), (23, "Sky"), (26, "Car"))
    kitti = {"name": "folder", "root": str(kitti_root / "training"), "classes": tuple(names), "val_fraction": 0.0}
    kitti["class_map"] = tuple((names[i], name) for i, name in pairs)
    camvid = {"name": "camvid", "root": str(camvid_root), "weight": 2.0}
    config = config_with(name="mixture", mixture=(camvid, {**kitti, "weight": 1.0}), image_size=(90, 120))
    dataset = build_dataset(config, "train")
    assert [len(part) for part in dataset.datasets] == [367, 198]
    file = sorted((kitti_root / "training" / "semantic").iterdir())[5]
    ids, label = read_mask(str(file)), dataset.label(367 + 5)
    for i, name in pairs:
        np.testing.assert_array_equal(label == dataset.class_table.names.index(name), ids == i)
    with contextlib.closing(build_host_batches(config, dataset, batch_size=3)) as batches:
        assert next(batches)["image"].shape == (3, 90, 120, 3)


def test_build_dataset_mixes_camvid_and_kitti_in_eleven_classes(camvid_root, kitti_root):
    camvid = {"name": "camvid", "root": str(camvid_root), "weight": 2.0}
    kitti = {"name": "kitti", "root": str(kitti_root), "class_set": "camvid11", "val_fraction": 0.2, "weight": 1.0}
    config = config_with(name="mixture", mixture=(camvid, kitti), image_size=(90, 120), resize="crop")
    dataset = build_dataset(config, "train")
    assert dataset.class_table == CAMVID11
    assert [part.name for part in dataset.datasets] == ["camvid", "kitti"]
    config.eval.mixture = "all"
    evaluated = build_eval_dataset(config)
    assert {evaluated.group(index) for index in range(len(evaluated))} == {"camvid", "kitti"}
    # All of KITTI's images are in one of the two splits.
    assert len(dataset.datasets[1]) + len(evaluated.datasets[1]) == 198
    with contextlib.closing(build_host_batches(config, dataset, batch_size=3)) as batches:
        batch = next(batches)
    assert batch["image"].shape == (3, 90, 120, 3)
    assert set(np.unique(batch["label"])) <= {*range(11), 255}
