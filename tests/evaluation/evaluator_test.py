"""Tests for segnet_jax/evaluation/evaluator.py and batch_stats.py."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from segnet_jax.data import preprocessing
from segnet_jax.data.class_table import VOID
from segnet_jax.data.masking import Missing
from segnet_jax.evaluation import metrics
from segnet_jax.evaluation.batch_stats import exact_batch_stats
from segnet_jax.evaluation.evaluator import Evaluator, Stopped
from segnet_jax.inference.bayesian import sample_posterior
from segnet_jax.inference.crf import DenseCRF
from segnet_jax.models import create_model
from segnet_jax.models.segnet_flat import SegNetFlat
from segnet_jax.runtime.sharding import to_devices
from tests.helpers.networks import logits_of, random_variables
from tests.helpers.numpy_layers import NumpyLayers, pool
from tests.helpers.split import TABLE, GroupedImages, Images, evaluate


@pytest.fixture(scope="module")
def model():
    return create_model("segnet_basic", 3, width_multiplier=1 / 16, axis_name="batch")


@pytest.fixture(scope="module")
def variables(model):
    return jax.device_get(jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3))))


@functools.cache
def evaluator_of(model, num_devices=1, batch_size=2, **options):
    devices = jax.devices()[:num_devices]
    return Evaluator(model, preprocessing.imagenet, devices, batch_size=batch_size, num_threads=1, **options)


def evaluation_of(model, variables, data, num_devices=1, batch_size=2, **options):
    return evaluator_of(model, num_devices, batch_size)(variables, data, **options)


def test_evaluator_counts_every_labelled_pixel_once_as_one_image_at_a_time(model, variables):
    data = Images(sizes=((12, 14),))
    confusion = np.zeros((3, 3), int)
    for example in data.examples:
        logits = logits_of(model, variables, preprocessing.imagenet(example["image"][None]))
        predictions = np.asarray(logits[0]).argmax(-1)
        for label, prediction in zip(example["label"].ravel(), predictions.ravel(), strict=True):
            if label != VOID:
                confusion[label, prediction] += 1
    report = evaluation_of(model, variables, data).report
    assert report["images"] == 7
    assert report["pixels"] == confusion.sum()
    assert report["void_pixels"] == 7 * 12 * 14 - confusion.sum()
    assert report["global_accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    union = confusion.sum(0) + confusion.sum(1) - np.diag(confusion)
    assert [entry["iou"] for entry in report["classes"]] == pytest.approx(np.diag(confusion) / union)


@pytest.mark.parametrize(("num_devices", "batch_size"), [pytest.param(1, 7, marks=pytest.mark.ci), (3, 3), (2, 10**6)])
def test_evaluator_does_not_depend_on_batch_size_or_devices(model, variables, num_devices, batch_size):
    data = Images()
    expected = evaluation_of(model, variables, data, boundary_f1=True)
    found = evaluation_of(model, variables, data, num_devices, batch_size, boundary_f1=True)
    assert found.report == expected.report
    assert found.report["boundary_f1"] is not None


def test_evaluator_with_flip_scores_mirrored_images_alike(model, variables):
    data, mirrored = Images(sizes=((12, 14),)), Images(sizes=((12, 14),))
    mirrored.examples = [
        {"image": e["image"][:, ::-1], "label": e["label"][:, ::-1], "name": e["name"]} for e in data.examples
    ]
    plain, other = (evaluator_of(model)(variables, split).report["confusion"] for split in (data, mirrored))
    assert plain != other
    first, second = (evaluator_of(model, flip=True)(variables, split).report["confusion"] for split in (data, mirrored))
    np.testing.assert_allclose(first, second, atol=1)  # a pixel on the border of two classes may fall either way


@pytest.mark.parametrize("normalize", [preprocessing.lcn, preprocessing.lrn, Missing(preprocessing.lcn, 0.3)])
def test_evaluator_predicts_each_image_as_if_it_were_alone(normalize):
    data, model = Images(count=4), SegNetFlat(num_classes=3, width_multiplier=1 / 16, pairs=1)
    variables = random_variables(model)
    alone = jax.jit(lambda image: jnp.argmax(model.apply(variables, normalize(image[None]), train=False)[0], -1))
    expected = [np.asarray(alone(example["image"])) for example in data.examples]
    for num_devices, batch_size in ((1, 3), (2, 2), (8, 8)):
        evaluator = Evaluator(model, normalize, jax.devices()[:num_devices], batch_size=batch_size, num_threads=1)
        pictures = evaluator(variables, data, num_pictures=4).pictures
        for picture, prediction in zip(pictures, expected, strict=True):
            np.testing.assert_array_equal(picture.prediction, prediction)


def test_evaluator_scores_as_before_with_a_larger_image_that_has_no_labels(model, variables):
    data, more = Images(), Images()
    rng = np.random.default_rng(5)
    image = rng.integers(0, 256, (15, 17, 3), np.uint8)
    more.examples.append({"image": image, "label": np.full((15, 17), VOID, np.uint8), "name": "void"})
    before, after = (evaluation_of(model, variables, split, boundary_f1=True).report for split in (data, more))
    assert after.pop("void_pixels") == before.pop("void_pixels") + 15 * 17
    assert (before.pop("images"), after.pop("images")) == (7, 8)
    assert after == before


def test_evaluator_draws_pictures_in_their_own_sizes_with_their_predictions(model, variables):
    data = Images()
    pictures = evaluation_of(model, variables, data, batch_size=4, num_pictures=3).pictures
    assert [picture.image.shape for picture in pictures] == [(9, 14, 3), (12, 11, 3), (9, 14, 3)]
    for picture, index in zip(pictures, (0, 3, 6), strict=True):
        np.testing.assert_array_equal(picture.image, data[index]["image"])
        np.testing.assert_array_equal(picture.label, data[index]["label"])
        assert picture.prediction.shape == picture.label.shape
    assert evaluation_of(model, variables, data).pictures == []


@pytest.mark.parametrize("options", [{}, {"crf": DenseCRF(iterations=1, bilateral_weight=0.0)}])
def test_evaluator_scores_groups_and_images_apart(options):
    evaluation = evaluate(jax.devices()[:2], **options)
    counts = [
        np.asarray(metrics.confusion_matrix(picture.label, picture.prediction, 3)) for picture in evaluation.pictures
    ]
    assert evaluation.report["confusion"] == sum(counts).tolist()
    dusk, day = sum(counts[i] for i in (1, 2, 6)), sum(counts[i] for i in (0, 3, 4, 5))
    assert evaluation.report["groups"] == {
        "day": {"images": 4, **metrics.main_scores(day, "abc")},
        "dusk": {"images": 3, **metrics.main_scores(dusk, "abc")},
    }
    assert evaluation.report["groups"]["dusk"]["global_accuracy"] == np.trace(dusk) / dusk.sum()
    assert "dusk (3 images): G" in evaluation.table()
    entries = evaluation.report["per_image"]
    assert [(entry["index"], entry["name"]) for entry in entries] == [(i, str(i)) for i in range(7)]
    for entry, count, picture in zip(entries, counts, evaluation.pictures, strict=True):
        assert entry["global_accuracy"] == np.trace(count) / count.sum()
        assert entry["boundary_f1"] == metrics.boundary_f1(picture.label, picture.prediction, 3)
        assert entry["regions"] == metrics.smoothness(picture.label, picture.prediction, 3)["regions"]
    for key, value in evaluation.report["smoothness"].items():
        assert value == pytest.approx(np.mean([entry[key] for entry in entries]))


def test_evaluator_reads_each_image_once_for_its_scores_and_its_name(model, variables):
    class Counting(Images):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    read = []
    evaluator = Evaluator(model, preprocessing.imagenet, jax.devices()[:1], batch_size=2, num_threads=1, per_image=True)
    report = evaluator(variables, Counting(), boundary_f1=True).report
    assert [entry["name"] for entry in report["per_image"]] == [str(i) for i in range(7)]
    assert sorted(read) == [0, *range(7)]  # the first one also before, for the type of images


def test_evaluator_has_no_scores_of_groups_or_images_unasked(model, variables):
    data = GroupedImages()
    data.group = lambda index: "day"
    report = evaluation_of(model, variables, data).report
    assert (report["groups"], report["smoothness"]) == ({}, None)
    assert "per_image" not in report


def test_evaluator_can_be_stopped(model, variables):
    asked = []
    with pytest.raises(Stopped):
        evaluation_of(model, variables, Images(), should_stop=lambda: asked.append(1) or len(asked) == 2)
    assert len(asked) == 2


def test_exact_batch_stats_are_the_means_over_batches(model, variables):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (4, 10, 12, 3), np.uint8) for _ in range(3)]
    kernel = variables["params"]["conv1"]["kernel"]
    means, squares = [], []
    for batch in images:
        x = jax.lax.conv_general_dilated(
            preprocessing.imagenet(batch), kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        means.append(np.mean(x, axis=(0, 1, 2)))
        squares.append(np.var(x, axis=(0, 1, 2)))
    for num_devices in (1, 2):
        batches = to_devices(iter({"image": batch} for batch in images), jax.devices()[:num_devices])
        devices = jax.devices()[:num_devices]
        stats = exact_batch_stats(model, preprocessing.imagenet, variables, batches, devices)
        np.testing.assert_allclose(stats["conv1_bn"]["mean"], np.mean(means, axis=0), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(stats["conv1_bn"]["var"], np.mean(squares, axis=0), rtol=1e-3)
    assert jax.tree.structure(stats) == jax.tree.structure(variables["batch_stats"])


def test_exact_batch_stats_are_computed_without_dropout(model, variables):
    images = np.random.default_rng(1).integers(0, 256, (2, 3, 18, 20, 3), np.uint8)
    layers, means, variances = NumpyLayers(variables), [], []
    for batch in images:
        maps = list(np.asarray(preprocessing.imagenet(batch), np.float64))
        for name in ("conv1", "conv2", "conv3", "conv4"):
            maps = [layers.conv(x, name) for x in maps]
            mean, variance = np.mean(maps, axis=(0, 1, 2)), np.var(maps, axis=(0, 1, 2))
            scale, shift = (layers.array(f"{name}_bn", key) for key in ("scale", "bias"))
            maps = [pool(np.maximum((x - mean) / np.sqrt(variance + 1e-5) * scale + shift, 0))[0] for x in maps]
        # conv4 lies behind the dropout after the third pooling.
        means.append(mean)
        variances.append(variance)
    devices = jax.devices()[:1]
    batches = to_devices(iter({"image": batch} for batch in images), devices)
    network = model.clone(dropout_rate=0.5)
    stats = exact_batch_stats(network, preprocessing.imagenet, variables, batches, devices)["conv4_bn"]
    np.testing.assert_allclose(stats["mean"], np.mean(means, axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(stats["var"], np.mean(variances, axis=0), rtol=1e-3)


@pytest.mark.parametrize(("num_devices", "batch_size"), [pytest.param(1, 2, marks=pytest.mark.ci), (4, 3)])
def test_evaluator_draws_stochastic_passes_by_seed_and_image_alone(model, variables, num_devices, batch_size):
    data = Images(count=5)
    network = model.clone(dropout_rate=0.5)
    keys = [jax.random.fold_in(jax.random.key(3), index) for index in range(5)]
    expected = []
    for example, key in zip(data.examples, keys, strict=True):
        inputs = preprocessing.imagenet(example["image"][None])
        expected.append([np.asarray(x[0]) for x in sample_posterior(network, variables, inputs, key[None], samples=3)])
    evaluator = evaluator_of(network, num_devices, batch_size, samples=3, seed=3)
    evaluation = evaluator(variables, data, num_pictures=5)
    assert evaluation.report["samples"] == 3
    for picture, (probabilities, uncertainty) in zip(evaluation.pictures, expected, strict=True):
        np.testing.assert_array_equal(picture.prediction, probabilities.argmax(-1))
        assert uncertainty.max() > 1e-4
        np.testing.assert_allclose(picture.uncertainty, uncertainty, rtol=1e-3, atol=1e-6)
    correct = sum(
        np.sum(example["label"] == probabilities.argmax(-1))
        for example, (probabilities, _) in zip(data.examples, expected, strict=True)
    )
    assert evaluation.report["global_accuracy"] == correct / evaluation.report["pixels"]
    assert "means of 3 stochastic passes" in metrics.format_table(evaluation.report)
    assert evaluation.draw(TABLE).width > evaluation_of(model, variables, data, num_pictures=5).draw(TABLE).width


@pytest.mark.parametrize(("num_devices", "batch_size"), [pytest.param(1, 5, marks=pytest.mark.ci), (2, 2)])
def test_evaluator_refines_each_image_by_a_crf(model, variables, num_devices, batch_size):
    data = Images(count=3)
    crf = DenseCRF(iterations=3, bilateral_color_std=80.0, bilateral_position_std=4.0)
    evaluator = evaluator_of(model, num_devices, batch_size, crf=crf)
    evaluation = evaluator(variables, data, boundary_f1=True, num_pictures=3)
    plain = evaluation_of(model, variables, data, boundary_f1=True, num_pictures=3)
    confusion, scores = np.zeros((3, 3), int), []
    for example, picture in zip(data.examples, evaluation.pictures, strict=True):
        logits = logits_of(model, variables, preprocessing.imagenet(example["image"][None]))
        refined = crf(example["image"], jax.nn.softmax(logits[0]))
        expected = np.asarray(refined).argmax(-1)
        np.testing.assert_array_equal(picture.prediction, expected)
        labelled = example["label"] != VOID
        np.add.at(confusion, (example["label"][labelled], expected[labelled]), 1)
        scores.append(metrics.boundary_f1(example["label"], expected, 3))
    assert evaluation.report["global_accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    assert evaluation.report["pixels"] == confusion.sum() == plain.report["pixels"]
    assert evaluation.report["boundary_f1"] == pytest.approx(np.mean(scores))
    assert any((a.prediction != b.prediction).any() for a, b in zip(evaluation.pictures, plain.pictures, strict=True))
    assert evaluation.report["crf"]["bilateral_color_std"] == 80.0
    assert plain.report["crf"] is None
    assert "after a dense CRF" in metrics.format_table(evaluation.report)
    assert "CRF" not in metrics.format_table(plain.report)


def test_evaluator_shows_the_best_and_the_worst_images(model, variables):
    data = Images()
    evaluation = evaluator_of(model, per_image=True, pictures_by_score=True)(variables, data, num_pictures=3)
    ranked = sorted(evaluation.report["per_image"], key=lambda found: -found["mean_iou"])
    for picture, found in zip(evaluation.pictures, (ranked[0], ranked[1], ranked[-1]), strict=True):
        np.testing.assert_array_equal(picture.image, data[found["index"]]["image"])
