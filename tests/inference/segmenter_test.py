"""Tests for segnet_jax/inference/segmenter.py."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

import segnet_jax
from segnet_jax.config import apply_overrides
from segnet_jax.data.preprocessing import imagenet
from segnet_jax.errors import InputError
from segnet_jax.inference.segmenter import Segmenter
from segnet_jax.inference.trained_model import load_trained
from segnet_jax.runtime import compilation
from tests.helpers import networks
from tests.helpers.tiff import save_bands


def random_image(*size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture(scope="module")
def trained(trained_run):
    """Returns a narrow SegNet-Basic whose random weights give every class a share of any image."""
    found = load_trained(trained_run)
    return dataclasses.replace(found, variables=jax.device_get(networks.random_variables(found.model)))


def with_values(trained, **values):
    """Returns the network as if trained with other values, such as `data__image_size=(8, 12)`."""
    config = trained.config.copy_and_resolve_references()
    apply_overrides(config, {key.replace("__", "."): value for key, value in values.items()})
    return dataclasses.replace(trained, config=config)


def logits_of(trained, image):
    return np.asarray(networks.logits_of(trained.model, trained.variables, imagenet(image[None]))[0])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_predict_is_what_the_network_says_at_the_images_own_size(trained):
    image = random_image(21, 35)
    found = Segmenter(trained).predict(image, probabilities=True)
    logits = logits_of(trained, image)
    np.testing.assert_array_equal(found.labels, logits.argmax(-1))
    np.testing.assert_allclose(found.probabilities, softmax(logits), rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(found.image, image)
    counts = {name: (found.labels == k).mean() for k, name in enumerate(trained.class_table.names)}
    assert found.shares() == pytest.approx(counts)
    assert sum(counts.values()) == pytest.approx(1)


@pytest.mark.parametrize("samples", [0, 2])
def test_predict_is_compiled_with_the_options_of_its_platform(trained, monkeypatch, samples):
    trained = dataclasses.replace(trained, model=trained.model.clone(dropout_rate=0.5))
    monkeypatch.setitem(compilation._OPTIONS, "cpu", {"no_such_option": True})
    with pytest.raises(RuntimeError, match="no_such_option"):
        Segmenter(trained).predict(random_image(21, 35), samples=samples)


def test_predict_takes_paths_pictures_and_arrays_alone_and_in_lists(trained, tmp_path):
    images = [random_image(18, 20, seed=1), random_image(18, 20, seed=2), random_image(9, 33, seed=3)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    segmenter = Segmenter(trained)
    expected = [segmenter.predict(image).labels for image in images]
    pictures = [Image.fromarray(image) for image in images]
    for given in (images, paths, [str(path) for path in paths], pictures):
        assert all(
            np.array_equal(found.labels, labels)
            for found, labels in zip(segmenter.predict(given), expected, strict=True)
        )
    np.testing.assert_array_equal(segmenter.predict(paths[2]).labels, expected[2])
    stacked = segmenter.predict(np.stack(images[:2]))
    assert [np.array_equal(found.labels, labels) for found, labels in zip(stacked, expected, strict=False)] == [
        True
    ] * 2
    batched = segmenter.predict_each(images, batch_size=2)
    assert [np.array_equal(found.labels, want) for found, want in zip(batched, expected, strict=True)] == [True] * 3


def interpolate(maps, height, width):
    """Interpolates [h, w, K] linearly between the centres of pixels, in NumPy."""
    for axis, length in enumerate((height, width)):
        places = (np.arange(length) + 0.5) * maps.shape[axis] / length - 0.5
        lower = np.floor(places).astype(int)
        share = (places - lower).reshape([-1 if a == axis else 1 for a in range(3)])
        last = maps.shape[axis] - 1
        maps = maps.take(lower.clip(0, last), axis) * (1 - share) + maps.take((lower + 1).clip(0, last), axis) * share
    return maps


def test_predict_resizes_as_training_did_and_scales_the_logits_back(trained):
    small = random_image(16, 24)
    image = small.repeat(2, axis=0).repeat(2, axis=1)  # whose halves are `small` again, exactly
    found = Segmenter(with_values(trained, data__image_size=(16, 24))).predict(image, probabilities=True)
    expected = softmax(interpolate(logits_of(trained, small), 32, 48))
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(found.labels, found.probabilities.argmax(-1))


@pytest.mark.parametrize(
    ("method", "size"), [("stretch", (12, 12)), ("fit", (6, 12)), ("crop", (12, 24))], ids=lambda value: str(value)
)
def test_predict_sees_images_at_the_scale_of_training(trained, method, size):
    segmenter = Segmenter(with_values(trained, data__image_size=(12, 12), data__resize=method))
    image = random_image(20, 40)
    np.testing.assert_array_equal(segmenter.predict(image).labels, segmenter.predict(image, size=size).labels)
    assert not np.array_equal(segmenter.predict(image).labels, segmenter.predict(image, size=()).labels)


def test_predict_by_tiles_equals_the_whole_image(trained):
    # SegNet-Basic's logits depend on pixels up to 53 away in the encoder and 45 in the decoder.
    image = random_image(1000, 96)
    segmenter = Segmenter(trained)
    whole = segmenter.predict(image, probabilities=True)
    tiled = segmenter.predict(image, probabilities=True, tile=832, overlap=416)
    np.testing.assert_allclose(tiled.probabilities, whole.probabilities, rtol=1e-3, atol=1e-4)
    assert (tiled.labels == whole.labels).mean() > 0.9999


def test_predict_by_stochastic_passes_gives_their_uncertainty(trained):
    noisy = dataclasses.replace(trained, model=trained.model.clone(dropout_rate=0.5))
    image = random_image(16, 24)
    found = Segmenter(noisy).predict(image, samples=3, probabilities=True)
    again = Segmenter(noisy).predict(image, samples=3)
    assert found.uncertainty.shape == (16, 24)
    assert found.uncertainty.max() > 1e-4
    np.testing.assert_allclose(found.probabilities.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.labels, again.labels)
    with pytest.raises(InputError, match="samples=3 needs a network with dropout"):
        Segmenter(trained).predict(image, samples=3)


def test_predict_refines_by_the_configured_crf(trained):
    image = random_image(16, 24)
    smooth = Segmenter(with_values(trained, crf__enabled=True, crf__position_weight=50.0)).predict(image)
    plain = Segmenter(trained).predict(image)

    def changes(labels):
        return (np.diff(labels.astype(int), axis=1) != 0).sum()

    assert changes(smooth.labels) < changes(plain.labels)


def test_read_takes_16_bits_as_training_did(trained, tmp_path):
    values = np.array([[0, 1000, 2000, 4095]], np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    found = Segmenter(with_values(trained, data__image_max=4095)).read(tmp_path / "deep.png")
    np.testing.assert_array_equal(found[..., 0], [[0, 62, 125, 255]])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"The image is uint8 \[4, 5\], and this network takes uint8 \[height, width, 3\]"),
        (np.zeros((4, 5, 4), np.uint8), r"uint8 \[4, 5, 4\]"),
        (np.zeros((4, 5, 3), np.float32), r"float32 \[4, 5, 3\]"),
        (np.zeros((0, 5, 3), np.uint8), r"uint8 \[0, 5, 3\]"),
        ("no/such.png", "no/such.png does not exist"),
    ],
)
def test_predict_refuses_what_is_no_image_of_the_network(trained, image, message):
    with pytest.raises(InputError, match=message):
        Segmenter(trained).predict(image)


def test_predict_refuses_tiles_of_resized_images(trained):
    with pytest.raises(InputError, match=r"size=\(8, 8\) and tile=64 exclude each other"):
        Segmenter(trained).predict(random_image(8, 8), size=(8, 8), tile=64)


def test_from_pretrained_takes_overrides_of_evaluation(trained_run):
    segmenter = segnet_jax.from_pretrained(trained_run, eval__checkpoint="latest")
    assert segmenter.trained.step == 6
    with pytest.raises(InputError, match="train.batch_size belongs to the training run"):
        segnet_jax.from_pretrained(trained_run, train__batch_size=3)


def test_read_takes_all_channels_of_an_image_from_one_file(trained, tmp_path):
    """Of the type that the network was trained on, if the values are such."""
    modalities = {"modalities": (3, 1), "modality_names": ("rgb", "depth")}
    segmenter = Segmenter(dataclasses.replace(with_values(trained, preprocessing="lcn"), **modalities))
    image = np.dstack([random_image(5, 7), random_image(5, 7, seed=1)[..., :1]])
    save_bands(tmp_path / "a.tif", image)
    found = segmenter.read(tmp_path / "a.tif")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, image)
    save_bands(tmp_path / "b.tif", image + np.float32(0.5))
    with pytest.raises(InputError, match=r"is float32 \[5, 7, 4\], and this network takes uint8 .* \(rgb and depth"):
        segmenter.predict(tmp_path / "b.tif")
