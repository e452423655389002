"""Drives the page in a real Chromium, without a window."""

import io
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="FastAPI comes with requirements-demo.txt")

import uvicorn  # noqa: E402

from segnet_jax.demo import network  # noqa: E402
from segnet_jax.demo.network import DemoNetwork  # noqa: E402
from segnet_jax.demo.server import Limits, make_app  # noqa: E402
from tests.helpers.chromium import expect  # noqa: E402
from tests.helpers.demo_networks import encoded, make_segmenter, random_image  # noqa: E402

pytestmark = pytest.mark.ci

IMAGE = random_image(16, 24, seed=5)


@pytest.fixture(scope="module")
def segmenter():
    return make_segmenter(dropout_rate=0.5)


@pytest.fixture(scope="module")
def address(segmenter, small_example):
    app = make_app(DemoNetwork(segmenter, samples=2, max_pixels=1_000_000), Limits(100_000, 60, 2))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        patch.setattr(network, "_SEEN_PIXELS", 400)  # of the example; other pictures are smaller
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        server.should_exit = True
        thread.join()


@pytest.fixture
def page(browser, address):
    """The page in a wide window, which must end without an error of its scripts or a request to elsewhere."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page, faults, requests = context.new_page(), [], []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    expect(page.locator("#about")).to_contain_text("segnet_basic, trained on synthetic: 10 classes")
    yield page
    context.close()
    assert not faults
    assert {url for url in requests if not url.startswith(("blob:", address))} == set()


def give(page, *files):
    """Chooses files, (name, content), and waits until all are segmented."""
    page.set_input_files(
        "#files", [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )
    expect(page.locator("#status")).to_contain_text("pictures segmented.")


def middle_of(page, row, column):
    """Returns where in the window a pixel of IMAGE is shown."""
    box = page.locator("#overlay").bounding_box()
    return box["x"] + (column + 0.5) / 24 * box["width"], box["y"] + (row + 0.5) / 16 * box["height"]


def test_page_shows_result_legend_and_the_class_under_the_pointer(page, segmenter):
    give(page, ("street.png", encoded(IMAGE)))
    found = segmenter.predict(IMAGE)
    names = [name.replace("_", " ") for name in segmenter.class_table.names]
    expect(page.locator("#name")).to_have_text("street.png")
    expect(page.locator("#facts")).to_contain_text("24 × 16 pixels; segmented in ")
    expect(page.locator("#uncertain")).to_be_hidden()
    # The legend, from the most frequent class on.
    shares = sorted(zip(found.shares().values(), names, strict=True), key=lambda entry: -entry[0])
    rows = page.locator("#legend button")
    expect(rows).to_have_count(10)
    percents = [f"{100 * share:.1f} %" if share else "–" for share, _ in shares]
    assert sorted(rows.all_inner_texts()) == sorted(
        f"{name}\n{percent}" for (_, name), percent in zip(shares, percents, strict=True)
    )
    assert [text.partition("\n")[2] for text in rows.all_inner_texts()] == percents
    # The class under the pointer, in the overlay and in the legend.
    for row, column in ((0, 0), (8, 11), (15, 23)):
        page.mouse.move(*middle_of(page, row, column))
        name = names[found.labels[row, column]]
        expect(page.locator("#tooltip")).to_have_text(name)
        expect(page.locator("#legend .here")).to_contain_text(name)
    page.mouse.move(5, 5)
    expect(page.locator("#tooltip")).to_be_hidden()
    # The mask, as it is kept.
    with page.expect_download() as download:
        page.get_by_text("Download the mask").click()
    assert download.value.suggested_filename == "street_mask.png"
    mask = Image.open(download.value.path())
    assert mask.mode == "P"
    np.testing.assert_array_equal(np.asarray(mask), found.labels)


def test_page_blends_by_the_slider_and_shows_a_class_alone(page, segmenter):
    give(page, ("street.png", encoded(IMAGE)))
    labels = segmenter.predict(IMAGE).labels
    page.locator("#opacity").fill("100")
    expect(page.locator("#opacity-value")).to_have_text("100 %")
    common = int(np.bincount(labels.ravel()).argmax())
    row, column = np.argwhere(labels == common)[0]
    other_row, other_column = np.argwhere(labels != common)[0]

    def color(row, column):
        """Returns the colour that the overlay has at a pixel, on the screen."""
        screen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        return screen.getpixel(tuple(map(int, middle_of(page, row, column))))

    palette = [tuple(entry) for entry in segmenter.class_table.colors.tolist()]
    assert color(row, column) == palette[common]
    assert color(other_row, other_column) == palette[labels[other_row, other_column]]
    button = page.locator("#legend button").first
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    page.locator("#name").hover()
    assert color(row, column) == palette[common]
    assert color(other_row, other_column) != palette[labels[other_row, other_column]]  # the picture alone


def test_page_is_used_by_the_keyboard(page, segmenter):
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()
    give(page, ("street.png", encoded(IMAGE)))
    page.locator("#overlay").focus()
    page.keyboard.press("ArrowRight")
    labels, names = segmenter.predict(IMAGE).labels, segmenter.class_table.names
    name = names[labels[8, int(0.52 * 24)]].replace("_", " ")
    expect(page.locator("#probe")).to_have_text(name)


def test_page_says_in_a_sentence_what_is_wrong_with_a_file(page):
    give(page, ("notes.png", b"no picture"))
    expect(page.locator("#error")).to_have_text("notes.png: The file is not an image that can be read; give a PNG, "
                                                "JPEG, TIFF, BMP or WebP file.")  # fmt: skip
    expect(page.locator("#result")).to_be_hidden()
    give(page, ("large.png", bytes(100_001)))
    expect(page.locator("#error")).to_contain_text("large.png: The file is larger than 0.1 MB")
    give(page, ("street.png", encoded(IMAGE)))
    expect(page.locator("#error")).to_be_hidden()
    expect(page.locator("#result")).to_be_visible()


def test_page_takes_several_pictures_and_the_uncertainty(page):
    page.get_by_label("Uncertainty too, of 2 passes").check()
    give(page, ("a.png", encoded(IMAGE)), ("b.png", b"no picture"), ("c.png", encoded(IMAGE[::-1])))
    expect(page.locator("#status")).to_have_text("2 of 3 pictures segmented.")
    expect(page.locator("#name")).to_have_text("a.png")
    expect(page.locator("#heat-caption")).to_contain_text("Uncertainty of 2 passes")
    page.locator("#pictures button", has_text="c.png").click()
    expect(page.locator("#name")).to_have_text("c.png")
    page.locator("#pictures button", has_text="b.png").click()
    expect(page.locator("#error")).to_contain_text("b.png: The file is not an image")
    expect(page.locator("#result")).to_be_hidden()


def test_page_takes_pictures_that_are_dropped_and_pasted(page):
    for event, holder in (("drop", "dataTransfer"), ("paste", "clipboardData")):
        page.evaluate(
            """([kind, holder, bytes]) => {
                const data = new DataTransfer();
                data.items.add(new File([new Uint8Array(bytes)], `${kind}.png`, { type: "image/png" }));
                const event = new Event(kind, { bubbles: true, cancelable: true });
                event[holder] = data;
                document.body.dispatchEvent(event);
            }""",
            [event, holder, list(encoded(IMAGE))],
        )
        expect(page.locator("#name")).to_have_text(f"{event}.png")


def test_page_takes_the_cameras_picture_and_an_example(page):
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    expect(page.locator("#name")).to_have_text("camera 1")
    page.get_by_role("button", name="Turn the camera off").click()
    expect(page.locator("#viewfinder")).to_be_hidden()
    page.get_by_role("button", name="Example 1, a drawn street").click()
    expect(page.locator("#name")).to_have_text("example 1")
    expect(page.locator("#facts")).to_contain_text("480 × 360 pixels, seen at 23 × 17")


@pytest.mark.parametrize(("width", "side_by_side"), [(1280, True), (360, False)])
def test_page_fits_a_window(page, width, side_by_side):
    page.set_viewport_size({"width": width, "height": 800})
    give(page, ("street.png", encoded(IMAGE)))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overlay, legend = (page.locator(name).bounding_box() for name in ("#overlay", "#legend"))
    assert (legend["x"] >= overlay["x"] + overlay["width"]) == side_by_side
    assert (legend["y"] >= overlay["y"] + overlay["height"]) != side_by_side
