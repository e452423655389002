"""Tests for segnet_jax/evaluation/feature_ablation.py."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from segnet_jax.data import preprocessing
from segnet_jax.errors import InputError
from segnet_jax.evaluation.eval_only import evaluate_checkpoint
from segnet_jax.evaluation.feature_ablation import (
    feature_rms,
    predict_active,
    study_features,
    top_histogram,
    training_rms,
)
from segnet_jax.models.segnet_flat import SegNetFlat
from tests.helpers.networks import logits_of, random_variables
from tests.helpers.numpy_layers import convolve, pool
from tests.helpers.split import Images
from tests.helpers.tiny_config import make_flat_config

MODEL = SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=2)


@pytest.fixture(scope="module")
def variables():
    return random_variables(MODEL)


def reference_rms(variables, image):
    """Returns the root mean square over the pooled map of one image at each depth, in float64."""
    x, result = np.asarray(image, np.float64), []
    for name in ("conv1", "conv2"):
        x, _ = pool(np.maximum(convolve(x, np.asarray(variables["params"][name]["kernel"], np.float64)), 0))
        result.append(np.sqrt((x**2).mean(axis=(0, 1))))
    return result


def test_feature_rms_of_an_odd_size_equals_a_reference(variables):
    images = np.random.default_rng(0).normal(size=(2, 11, 13, 3)).astype(np.float32)
    found = feature_rms(MODEL, variables, images)
    for i in range(2):
        for depth, expected in enumerate(reference_rms(variables, images[i])):
            np.testing.assert_allclose(found[depth][i], expected, rtol=1e-4)


def test_training_rms_has_every_image_once_and_in_order(variables):
    data = Images(count=7, sizes=((12, 14), (9, 11)))
    for num_devices, batch_size in ((1, 2), (3, 4)):
        found = training_rms(
            MODEL,
            variables,
            preprocessing.imagenet,
            data,
            jax.devices()[:num_devices],
            batch_size=batch_size,
            num_threads=1,
        )
        assert [rms.shape for rms in found] == [(7, 4), (7, 4)]
        for i, example in enumerate(data.examples):
            expected = reference_rms(variables, preprocessing.imagenet(example["image"]))
            for depth in range(2):
                np.testing.assert_allclose(found[depth][i], expected[depth], rtol=1e-3)


def test_top_histogram_by_hand():
    rms = np.asarray([[0.1, 0.9, 0.5, 0.0], [0.7, 0.6, 0.2, 0.0], [0.0, 0.8, 0.9, 0.0]])
    assert top_histogram(rms, 0).tolist() == [0, 0, 0, 0]
    # "Top 1" keeps every feature that is the strongest of some image.
    assert top_histogram(rms, 1).tolist() == [1, 1, 1, 0]
    assert top_histogram(rms, 2).tolist() == [1, 3, 2, 0]
    assert top_histogram(rms, 4).tolist() == [3, 3, 3, 3]


def test_predict_active_with_all_features_is_the_plain_network_and_with_none_gives_class_0(variables):
    images = np.random.default_rng(1).normal(size=(2, 12, 10, 3)).astype(np.float32)
    plain = np.asarray(logits_of(MODEL, variables, images)).argmax(-1)
    assert len(np.unique(plain)) > 1
    np.testing.assert_array_equal(predict_active(MODEL, variables, images, jnp.ones(4, bool)), plain)
    assert not np.any(predict_active(MODEL, variables, images, jnp.zeros(4, bool)))


def test_study_features_writes_pictures_and_numbers(trained_flat_run, tmp_path):
    workdir = shutil.copytree(trained_flat_run, tmp_path / "run")
    rows = study_features(workdir, {"eval.top_features": (0, 1, 2), "eval.pictures": 2, "eval.single_features": 1000})
    assert [(row["depth"], row["top"]) for row in rows] == [(d, n) for d in (1, 2) for n in (0, 1, 2, None)]
    for row in rows:
        top = {None: 4}.get(row["top"], row["top"])
        assert sum(row["histogram"]) == top * make_flat_config().data.train_scenes
        assert row["active"] == np.mean(np.asarray(row["histogram"]) > 0)
    assert [row["active"] for row in rows if row["top"] == 0] == [0, 0]
    assert [row["active"] for row in rows if row["top"] is None] == [1, 1]
    assert json.loads((workdir / "ablation" / "val-2.json").read_text()) == rows
    pictures = sorted(path.name for path in (workdir / "ablation").glob("*.png"))
    assert pictures == ["val-2-0.png", "val-2-8.png"]
    single = json.loads((workdir / "ablation" / "val-2-single.json").read_text())
    assert [len(row["features"]) for row in single] == [4, 4]
    # With all features the network of all pairs is the trained one, scored on the whole split.
    scored = evaluate_checkpoint(workdir)
    for key in ("global_accuracy", "mean_iou"):
        assert single[-1]["all"][key] == pytest.approx(scored[key])
    table = (workdir / "ablation" / "val-2-single.md").read_text()
    assert {line.split(" | ")[0] for line in table.splitlines()[2:]} == {"| 1", "| 2"}
    # Two rows of six pictures and a legend; a scene is 16x24, and enlarged.
    with Image.open(workdir / "ablation" / "val-2-0.png") as sheet:
        assert sheet.width > 6 * 24
        assert sheet.height > 2 * 16


def test_study_features_refuses_another_network(trained_run):
    with pytest.raises(InputError, match="holds a SegNetBasic; the study of features is of a segnet_flat"):
        study_features(trained_run)
