"""Runs on images of six bands, with missing values, from TIFF files that are written here: all the way to an export."""

import json
import shutil

import jax
import numpy as np
import onnxruntime
import pytest

from segnet_jax.data import from_config
from segnet_jax.data.from_config import build_dataset, build_host_batches
from segnet_jax.data.pipeline import eval_batches
from segnet_jax.data.records.writer import prepare_records
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.evaluation.missing_input import evaluate_missing
from segnet_jax.export import __main__ as export
from segnet_jax.inference.segmenter import from_pretrained
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.training.from_config import build_run
from segnet_jax.training.loop import train_and_evaluate
from tests.helpers.folder_files import save
from tests.helpers.tiff import save_bands
from tests.helpers.tiny_config import make_tiny_config

SIZE = (16, 24)
# Reflectances times ten thousand, with other means and contrasts in every band.
OFFSETS, CONTRASTS = np.array([300, 500, 400, 2500, 1800, 900]), np.array([30, 30, 30, 900, 700, 300])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Fields whose crop shows in the last three bands alone; a tenth of the values is missing."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("fields")
    for index in range(14):
        split = root / ("train" if index < 8 else "val")
        crop = np.tile(np.arange(24) >= rng.integers(6, 18), (16, 1))
        bands = OFFSETS + CONTRASTS * (rng.normal(0, 0.3, (*SIZE, 6)) + (np.arange(6) > 2) * crop[..., None])
        bands = np.where(rng.random(bands.shape) < 0.1, 0, bands.round()).astype(np.uint16)
        save_bands(split / "images" / f"{index:02}.tif", bands, planes=index % 2 == 0, nodata="0")
        save(split / "masks" / f"{index:02}.png", crop.astype(np.uint8))
    return root


def config_of(root, duration="20 steps"):
    config = make_tiny_config()
    config.update_from_flattened_dict(
        {
            "data.name": "folder",
            "data.root": str(root),
            "data.classes": ("soil", "crop"),
            "data.modalities": ("bands",),
            "preprocessing": "standardize",
            "augment.scale": (0.8, 1.25),
            "augment.crop_size": SIZE,
            "model.name": "segnet_flat",
            "model.pairs": 1,
            "model.width_multiplier": 0.125,
            "optimizer.learning_rate": 0.5,
            "train.duration": duration,
            "train.eval_every": "0 steps",
            "train.checkpoint_every": "10 steps",
            "eval.batch_size": 4,
        }
    )
    return config


@pytest.fixture(scope="module")
def run(root, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, train_and_evaluate(config_of(root), workdir)


def assert_same_parameters(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.params, b.params)
    jax.tree.map(np.testing.assert_array_equal, a.batch_stats, b.batch_stats)


def test_a_run_on_bands_learns_and_keeps_the_statistics_of_its_training_images(root, run):
    trained = load_trained(run[0])
    assert (trained.modalities, trained.modality_names, trained.image_dtype) == ((6,), ("bands",), "float32")
    report = json.loads((run[0] / "eval" / "val-20.json").read_text())
    assert report["global_accuracy"] > 0.9
    images = [example["image"] for example in map(build_dataset(config_of(root), "train").__getitem__, range(8))]
    values = np.concatenate([image.reshape(-1, 6) for image in images]).astype(np.float64)
    assert 0.05 < np.isnan(values).mean() < 0.15
    np.testing.assert_allclose(trained.channel_statistics.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(trained.channel_statistics.std, np.nanstd(values, axis=0), rtol=1e-9)


def test_a_run_on_bands_resumes_bit_by_bit_with_the_numbers_that_it_began_with(root, run, tmp_path, monkeypatch):
    train_and_evaluate(config_of(root, "10 steps"), tmp_path)
    monkeypatch.setattr(from_config, "cached_channel_statistics", None)
    assert_same_parameters(train_and_evaluate(config_of(root), tmp_path), run[1])


@pytest.mark.ci
def test_a_run_on_bands_is_the_same_from_records(root, run, tmp_path):
    config = config_of(root)
    datasets = [build_dataset(config, split) for split in ("train", "val")]
    prepare_records(datasets, str(tmp_path / "records"), examples_per_shard=3)
    assert json.loads((tmp_path / "records" / "index.json").read_text())["version"] == 2
    config.data.name, config.data.root = "records", str(tmp_path / "records")
    records = build_dataset(config, "val")
    for index in range(len(records)):
        found, expected = records[index]["image"], datasets[1][index]["image"]
        assert found.dtype == np.float32
        assert found.tobytes() == expected.tobytes()
    assert_same_parameters(train_and_evaluate(config, tmp_path / "run"), run[1])


def test_batches_of_bands_come_from_processes_as_from_threads(root):
    config = config_of(root)
    dataset = build_dataset(config, "train")
    config.data.num_workers = 1
    by_process = build_host_batches(config, dataset, batch_size=4)
    config.data.num_workers = 0
    by_thread = build_host_batches(config, dataset, batch_size=4)
    for _ in range(3):
        found, expected = next(by_process), next(by_thread)
        assert found["image"].dtype == np.float32
        np.testing.assert_array_equal(found["image"], expected["image"])
    by_process.close()
    by_thread.close()
    *_, last = eval_batches(build_dataset(config, "val"), batch_size=4)
    assert last["index"].tolist() == [4, 5, -1, -1]
    assert last["image"].dtype == np.float32


def test_prediction_of_bands_needs_the_network_alone(root, run, tmp_path):
    """From a file, from an array of any numbers, and from a folder of the network; and evaluation agrees with it."""
    path = root / "val" / "images" / "09.tif"
    segmenter = from_pretrained(run[0])
    found = segmenter.predict(path)
    image = build_dataset(config_of(root), "val")[1]["image"]
    np.testing.assert_array_equal(found.image, image)
    np.testing.assert_array_equal(segmenter.predict(image.astype(np.float64)).labels, found.labels)
    segmenter.save_pretrained(tmp_path / "network")
    again = from_pretrained(tmp_path / "network")
    assert again.trained.channel_statistics == segmenter.trained.channel_statistics
    np.testing.assert_array_equal(again.predict(path).labels, found.labels)
    assert found.overlay().shape == (*SIZE, 3)
    assert found.picture.std() > 20  # stretched, where 8 bits would show nothing
    labels = np.asarray([again.predict(root / "val" / "images" / f"{i:02}.tif").labels for i in range(8, 14)])
    masks = np.asarray([build_dataset(config_of(root), "val").label(i) for i in range(6)])
    report = evaluate_checkpoint(run[0])
    assert report["global_accuracy"] == pytest.approx((labels == masks).mean())
    with pytest.raises(InputError, match=r"\[16, 24, 3\], and this network takes float32 .* 6\] \(bands, as in train"):
        segmenter.predict(np.zeros((*SIZE, 3), np.uint8))


def test_missing_bands_are_evaluated_beside_those_that_are_missing_anyway(run):
    rows = evaluate_missing(run[0], {"eval.missing_pixels": (0.0, 1.0)})
    assert rows[0]["global_accuracy"] > rows[1]["global_accuracy"] + 0.1


def test_an_exported_network_of_bands_takes_missing_values(root, run, tmp_path):
    file = tmp_path / "network.onnx"
    assert export.main([str(run[0]), "--format=onnx", f"--output={file}"]) == 0
    session = onnxruntime.InferenceSession(file)
    metadata = session.get_modelmeta().custom_metadata_map
    assert (metadata["image_dtype"], metadata["modality_names"]) == ("float32", '["bands"]')
    assert json.loads(metadata["channel_statistics"]) == load_trained(run[0]).channel_statistics.to_dict()
    image = build_dataset(config_of(root), "val")[2]["image"]
    (labels,) = session.run(None, {"images": image[None]})
    np.testing.assert_array_equal(labels[0], from_pretrained(run[0]).predict(image).labels)


def test_a_run_on_bands_refuses_what_does_not_fit(root, run, tmp_path):
    broken = shutil.copytree(root, tmp_path / "fields")
    for path in (broken / "train" / "images").iterdir():
        bands = np.full((*SIZE, 6), 7, np.uint16)
        bands[..., 4] = 0
        save_bands(path, bands, nodata="0")
    with pytest.raises(InputError, match=r"No image of fields \(train\) has a value in band 5 of bands"):
        build_run(config_of(broken))
    save_bands(broken / "train" / "images" / "03.tif", np.zeros((*SIZE, 5), np.uint16))
    with pytest.raises(InputError, match=r"03\.tif has 5 bands of uint16, and .*00\.tif has 6 of uint16"):
        build_run(config_of(broken))
    config = config_of(root)
    config.preprocessing = "imagenet"
    with pytest.raises(InputError, match=r"'imagenet' is for images with RGB, .* are bands \(6\); choose"):
        build_run(config)
    config.data.modalities = ("rgb",)
    with pytest.raises(InputError, match=r"00\.tif is no TIFF file of one gray .* data\.modalities=\('bands',\) and"):
        build_run(config)
    for index in range(2):
        save(tmp_path / "photos" / "images" / f"{index}.png", np.zeros((*SIZE, 3), np.uint8))
        save(tmp_path / "photos" / "masks" / f"{index}.png", np.zeros(SIZE, np.uint8))
    photos = {"data.root": str(tmp_path / "photos"), "data.modalities": ("rgb",), "data.val_fraction": 0.0}
    with pytest.raises(InputError, match=r"photos have modalities of \(3,\) channels"):
        evaluate_checkpoint(run[0], {**photos, "data.eval_split": "train"})
