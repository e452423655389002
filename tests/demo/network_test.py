"""Tests for segnet_jax/demo/network.py."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.datasets.synthetic import SyntheticScenes
from segnet_jax.data.preprocessing import RGBD
from segnet_jax.demo import network as module
from segnet_jax.demo.network import EXAMPLES, DemoNetwork
from segnet_jax.errors import InputError
from tests.helpers.demo_networks import encoded, make_segmenter, png_header, random_image

pytestmark = pytest.mark.usefixtures("small_example")


@pytest.fixture(scope="module")
def segmenter():
    return make_segmenter()


@pytest.fixture(scope="module")
def network(segmenter):
    return DemoNetwork(segmenter, samples=3, max_pixels=10_000)


def picture(content):
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_segment_is_what_the_segmenter_predicts(network, segmenter):
    image = random_image(16, 24, seed=1)
    found, expected = network.segment(encoded(image)), segmenter.predict(image)
    mask = picture(found["mask"])
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), expected.labels)
    np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), segmenter.class_table.colors[expected.labels])
    assert found["shares"] == pytest.approx(np.bincount(expected.labels.ravel(), minlength=10) / (16 * 24))
    assert picture(found["input"]).format == "JPEG"
    assert found["size"] == found["seen"] == [16, 24]
    assert found["uncertainty"] is None
    assert found["seconds"] > 0


def test_segment_turns_a_picture_upright_and_shows_it_so(network):
    image = np.zeros((24, 16, 3), np.uint8)
    image[:, :8] = 255  # white at the left, which orientation 6 has at the top
    exif = Image.Exif()
    exif[0x0112] = 6
    found = network.segment(encoded(image, "JPEG", exif=exif.tobytes()))
    assert found["size"] == [16, 24]
    shown = np.asarray(picture(found["input"]))
    assert shown[:7].mean() > 250
    assert shown[9:].mean() < 5


def test_segment_gives_the_uncertainty_of_a_network_with_dropout():
    segmenter = make_segmenter(dropout_rate=0.5)
    network = DemoNetwork(segmenter, samples=3, max_pixels=10_000)
    assert network.samples == network.describe()["samples"] == 3
    image = random_image(16, 24, seed=2)
    found, expected = network.segment(encoded(image), uncertainty=True), segmenter.predict(image, samples=3)
    assert found["greatest"] == pytest.approx(expected.uncertainty.max())
    assert found["greatest"] > 0
    heat = visualize.heat_map(expected.uncertainty, expected.uncertainty.max())
    np.testing.assert_array_equal(np.asarray(picture(found["uncertainty"])), heat)
    np.testing.assert_array_equal(np.asarray(picture(found["mask"])), expected.labels)


def test_segment_gives_no_uncertainty_of_a_network_without_dropout(network):
    assert network.samples == 0
    assert network.segment(encoded(random_image(16, 24)), uncertainty=True)["uncertainty"] is None


def test_segment_shows_the_network_no_more_pixels_than_it_has_memory_for(network, segmenter, monkeypatch):
    monkeypatch.setattr(module, "_SEEN_PIXELS", 100)
    image = random_image(20, 40)
    found = network.segment(encoded(image))
    assert found["seen"] == [7, 14]  # both by the root of 100 / 800
    assert found["size"] == [20, 40]
    np.testing.assert_array_equal(np.asarray(picture(found["mask"])), segmenter.predict(image, size=(7, 14)).labels)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        (b"", "The file is empty"),
        (b"no picture", "The file is not an image that can be read"),
        (encoded(random_image(16, 24))[:200], "The file is damaged"),
        (encoded(random_image(16, 24), "GIF"), "The file is not an image that can be read"),  # Pillow could
        # These end before their pixels, and are refused without a look at them.
        (png_header(101, 100), "The picture has 101 x 100 pixels, more than the 0.01 million"),
        (png_header(50_000, 50_000), "The file claims to have more than"),
    ],
    ids=["empty", "text", "cut", "gif", "large", "bomb"],
)
def test_segment_refuses_a_file_in_a_sentence_that_names_no_path(network, file, sentence):
    with pytest.raises(InputError, match=f"^{sentence}") as error:
        network.segment(file)
    assert "/" not in str(error.value)


def test_segment_refuses_what_browsers_do_not_draw(network, monkeypatch):
    monkeypatch.setattr(module, "_MAX_SIDE", 30)
    with pytest.raises(InputError, match="16 x 31 pixels, and this page takes 30 at most on a side"):
        network.segment(png_header(16, 31))


def test_segment_drops_the_programs_of_many_sizes(network, monkeypatch):
    cleared = []
    monkeypatch.setattr(module.jax, "clear_caches", lambda: cleared.append(set(network._sizes)))
    monkeypatch.setattr(module, "_KEPT_SIZES", 2)
    network._sizes.clear()
    for width in (24, 25, 24, 26):
        network._size(16, width)
    assert cleared == [{(16, 24), (16, 25)}]
    assert network._sizes == {(16, 26)}


def test_demo_network_refuses_a_network_of_other_channels():
    with pytest.raises(InputError, match="takes images of 4 channels"):
        DemoNetwork(make_segmenter(modalities=RGBD), samples=0, max_pixels=1)


def test_describe_names_network_and_classes(network):
    found = network.describe()
    assert (found["network"], found["dataset"]) == ("segnet_basic", "synthetic")
    assert found["classes"][3] == {"name": "road", "color": [128, 64, 128]}
    assert len(found["classes"]) == 10


def test_examples_are_scenes_that_the_project_draws():
    assert len(EXAMPLES) == 3
    scenes = SyntheticScenes("test", (360, 480))
    for path in EXAMPLES:
        drawn = scenes[int(path.stem.removeprefix("test_"))]["image"]
        stored = np.asarray(Image.open(path))
        assert np.abs(stored - drawn.astype(float)).mean() < 4  # as JPEG loses; other scenes differ by tens
