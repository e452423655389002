"""Tests for segnet_jax/evaluation/reconstruction.py."""

import jax
import numpy as np
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.evaluation.evaluator import Stopped
from segnet_jax.evaluation.reconstruction import ReconstructionEvaluator
from segnet_jax.models.segnet_flat import SegNetFlat
from tests.helpers.networks import random_variables
from tests.helpers.split import TABLE, Images

MODEL = SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=1, head="conv_reconstruct")


@pytest.fixture(scope="module")
def variables():
    return random_variables(MODEL)


def evaluation_of(variables, data, num_devices=1, batch_size=2, **options):
    devices = jax.devices()[:num_devices]
    evaluator = ReconstructionEvaluator(MODEL, preprocessing.imagenet, devices, batch_size=batch_size, num_threads=1)
    return evaluator(variables, data, **options)


def test_reconstruction_evaluator_equals_a_reference_for_any_batch_and_devices(variables):
    data = Images(sizes=((12, 14),))
    inputs = np.stack([preprocessing.imagenet(example["image"]) for example in data.examples]).astype(np.float64)
    outputs = np.asarray(MODEL.apply(variables, inputs.astype(np.float32)), np.float64)
    errors = np.square(outputs - inputs)
    for num_devices, batch_size in ((1, 2), (3, 4)):
        report = evaluation_of(variables, data, num_devices, batch_size).report
        assert report["images"] == 7
        assert report["mean_squared_error"] == pytest.approx(errors.mean(), rel=1e-4)
        # The mean of each channel by itself would leave its variance.
        assert report["explained_variance"] == pytest.approx(
            1 - errors.sum() / (inputs.var(axis=(0, 1, 2)).sum() * 7 * 12 * 14), rel=1e-3
        )


def test_reconstruction_evaluator_reconstructs_each_image_alone(variables):
    data = Images(count=3, sizes=((9, 14), (12, 11)))
    values = []
    for example in data.examples:
        inputs = np.asarray(preprocessing.imagenet(example["image"][None]))
        values.append(np.square(np.asarray(MODEL.apply(variables, inputs)) - inputs).ravel())
    report = evaluation_of(variables, data).report
    assert report["mean_squared_error"] == pytest.approx(np.concatenate(values).mean(), rel=1e-4)


def test_reconstruction_evaluator_draws_image_input_and_reconstruction(variables):
    data = Images()
    evaluation = evaluation_of(variables, data, num_pictures=2)
    (picture, _) = evaluation.pictures
    np.testing.assert_array_equal(picture.image, data[0]["image"])
    inputs = np.asarray(preprocessing.imagenet(data[0]["image"][None]))[0]
    expected = np.clip((inputs / 3 + 1) * 127.5, 0, 255)
    np.testing.assert_allclose(picture.label, expected, atol=1.01)
    assert picture.prediction.shape == picture.image.shape
    assert evaluation.draw(TABLE).width > 3 * 14
    assert "explained variance" in evaluation.table()


def test_reconstruction_evaluator_can_be_stopped(variables):
    with pytest.raises(Stopped):
        evaluation_of(variables, Images(), should_stop=lambda: True)
