"""Drives an exported page in a real Chromium, without a window, against the labels of JAX."""

import io
import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from segnet_jax.inference.preparation import resize_image
from segnet_jax.inference.segmenter import from_pretrained
from tests.helpers.chromium import expect, launch
from tests.helpers.demo_networks import encoded, random_image
from tests.helpers.exported_page import give, open_page, write_page
from tests.helpers.paths import ROOT
from tests.helpers.static_site import ISOLATION, serve

pytestmark = pytest.mark.ci

EXAMPLES = sorted((ROOT / "segnet_jax" / "demo" / "page" / "examples").glob("*.jpg"))
IMAGE = random_image(16, 24, seed=5)


def assert_runs(page, threads):
    """Asserts that the page says that it runs on the processor, with that many threads."""
    line = page.locator("#runs-on")
    expect(line).to_have_attribute("data-runs", "wasm")
    expect(line).to_have_attribute("data-threads", str(threads))
    expect(line).to_contain_text(f"(WebAssembly, {f'{threads} threads' if threads > 1 else 'one thread'})")


def most_threads(page):
    return min(4, page.evaluate("navigator.hardwareConcurrency"))


def mask_of(page, name):
    """Returns the mask that is downloaded, once the picture is segmented."""
    expect(page.locator("#status")).to_have_text(f"{name} is segmented.")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the mask").click()
    assert download.value.suggested_filename == f"{name.partition('.')[0]}_mask.png"
    return Image.open(download.value.path())


def middle_of(page, row, column):
    """Returns where in the window a pixel of IMAGE is shown."""
    box = page.locator("#overlay").bounding_box()
    return box["x"] + (column + 0.5) / 24 * box["width"], box["y"] + (row + 0.5) / 16 * box["height"]


@pytest.fixture(scope="module")
def shipped():
    return from_pretrained("segnet_camvid_small")


@pytest.fixture(scope="module")
def shipped_page(browser, shipped, runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped") / "any" / "where"
    write_page(shipped, runtime, folder)
    with serve(folder.parent.parent, ISOLATION) as (address, _):
        page = open_page(browser, f"{address}any/where/")
        yield page
        page.context.close()


def equal(mask, labels):
    return np.mean(np.asarray(mask) == labels)


def test_page_of_the_shipped_network_gives_the_labels_of_jax(shipped_page, shipped):
    for path in EXAMPLES:
        give(shipped_page, path.name, path.read_bytes(), "image/jpeg")
        mask = mask_of(shipped_page, path.name)
        assert equal(mask, shipped.predict(path).labels) >= 0.995
        assert mask.getpalette()[: 3 * 11] == shipped.class_table.colors.ravel().tolist()


def test_page_of_the_shipped_network_gives_the_labels_of_jax_on_camvid(shipped_page, shipped, camvid_root):
    for path in sorted((camvid_root / "val").glob("*.png"))[::60]:
        give(shipped_page, path.name, path.read_bytes())
        assert equal(mask_of(shipped_page, path.name), shipped.predict(path).labels) >= 0.995


def test_page_sees_a_large_picture_smaller_as_jax_does(shipped_page, shipped):
    image = np.asarray(Image.open(EXAMPLES[0]).resize((700, 511)))
    shipped_page.get_by_label("Detail").select_option("0.05")
    give(shipped_page, "large.png", encoded(image))
    mask = mask_of(shipped_page, "large.png")
    expect(shipped_page.locator("#facts")).to_contain_text("700 × 511 pixels, seen at 262 × 191; segmented in ")
    assert equal(mask, shipped.predict(image, size=(191, 262)).labels) >= 0.99


def test_page_runs_threads_where_its_host_isolates_it(shipped_page):
    assert_runs(shipped_page, most_threads(shipped_page))


@pytest.mark.parametrize("size", [(8, 12), (4, 24), (7, 9), (23, 31), (16, 5)], ids=str)
def test_resize_image_is_that_of_training(page, size):
    rgba = np.dstack([IMAGE, np.full((16, 24), 255, np.uint8)])
    found = page.evaluate(
        """async ([rgba, size]) => {
            const { resizeImage } = await import("./resample.js");
            return [...resizeImage(Uint8ClampedArray.from(rgba), 16, 24, ...size)];
        }""",
        [rgba.ravel().tolist(), size],
    )
    differences = np.abs(np.reshape(found, (*size, 3)) - resize_image(IMAGE, size).astype(int))
    assert differences.max() <= 1 and np.mean(differences > 0) < 0.02


@pytest.mark.parametrize("size", [(16, 24), (33, 50), (9, 40), (7, 11)], ids=str)
def test_labels_of_interpolates_logits_as_the_segmenter(page, size):
    logits = np.random.default_rng(0).normal(size=(16, 24, 4)).astype(np.float32)
    found = page.evaluate(
        """async ([logits, size]) => {
            const { labelsOf } = await import("./resample.js");
            return [...labelsOf(Float32Array.from(logits), 16, 24, ...size, 4)];
        }""",
        [logits.ravel().tolist(), size],
    )
    expected = np.asarray(jax.image.resize(logits, (*size, 4), "linear")).argmax(-1)
    assert equal(np.reshape(found, size), expected) > 0.998


@pytest.mark.parametrize(
    ("image_size", "resize", "pixels", "size"),
    [
        ([90, 120], "stretch", None, [90, 120]),
        ([90, 120], "fit", None, [60, 120]),
        ([90, 120], "crop", None, [90, 180]),
        ([], "stretch", 1e9, [300, 600]),
        ([], "stretch", 45000, [150, 300]),
        ([], "stretch", 1, [8, 8]),
    ],
)
def test_network_size_is_that_of_training_or_of_the_pixels(page, image_size, resize, pixels, size):
    found = page.evaluate(
        """async ([description, pixels]) => {
            const { networkSize } = await import("./resample.js");
            return networkSize(300, 600, description, pixels);
        }""",
        [{"image_size": image_size, "resize": resize, "smallest": 8}, pixels],
    )
    assert found == size


def test_page_shows_legend_overlay_and_the_class_under_the_pointer(page, segmenter):
    give(page, "street.png", encoded(IMAGE))
    labels = np.asarray(mask_of(page, "street.png"))
    assert equal(labels, segmenter.predict(IMAGE).labels) > 0.98
    names = [name.replace("_", " ") for name in segmenter.class_table.names]
    shares = np.bincount(labels.ravel(), minlength=10) / labels.size
    expect(page.locator("#facts")).to_contain_text("24 × 16 pixels; segmented in ")
    rows = page.locator("#legend button").all_inner_texts()
    assert sorted(rows) == sorted(
        f"{name}\n" + (f"{100 * share:.1f} %" if share else "–") for name, share in zip(names, shares, strict=True)
    )
    assert rows[0].startswith(names[shares.argmax()])
    for row, column in ((0, 0), (8, 11), (15, 23)):
        page.mouse.move(*middle_of(page, row, column))
        expect(page.locator("#tooltip")).to_have_text(names[labels[row, column]])
        expect(page.locator("#legend .here")).to_contain_text(names[labels[row, column]])
    page.mouse.move(5, 5)
    page.locator("#opacity").fill("100")
    palette, common = segmenter.class_table.colors, int(shares.argmax())

    def color(place):
        """Returns the colour that a pixel has on the screen."""
        screen = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        return screen.getpixel(tuple(map(int, middle_of(page, *place))))

    inside, outside = np.argwhere(labels == common)[0], np.argwhere(labels != common)[0]
    assert color(inside) == tuple(palette[common]) and color(outside) == tuple(palette[labels[tuple(outside)]])
    page.locator("#legend button").first.click()
    page.locator("#name").hover()
    assert color(inside) == tuple(palette[common]) and color(outside) == tuple(IMAGE[tuple(outside)])


def test_page_is_used_by_the_keyboard(page):
    page.locator("body").click(position={"x": 1, "y": 1})
    page.keyboard.press("Tab")
    expect(page.locator("#file")).to_be_focused()
    give(page, "street.png", encoded(IMAGE))
    labels = np.asarray(mask_of(page, "street.png"))
    page.locator("#overlay").focus()
    page.keyboard.press("ArrowRight")
    legend = page.locator(f"#legend button[data-index='{labels[8, int(0.52 * 24)]}']")
    expect(page.locator("#probe")).to_have_text(legend.inner_text().partition("\n")[0])


def test_page_says_in_a_sentence_what_is_wrong(page):
    give(page, "notes.png", b"no picture")
    expect(page.locator("#error")).to_contain_text("notes.png: The file is no picture or video that this browser can")
    expect(page.locator("#result")).to_be_hidden()
    give(page, "film.mp4", b"no video", "video/mp4")
    expect(page.locator("#error")).to_have_text(
        "film.mp4 is a video that this browser cannot play; give an MP4 (H.264) or WebM file."
    )
    for kind, sentence in (("NotAllowedError", "The camera was refused; "), ("NotFoundError", "has no camera")):
        page.evaluate(
            "kind => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('', kind); }; }", kind
        )
        page.get_by_role("button", name="Use the camera").click()
        expect(page.locator("#error")).to_contain_text(sentence)
    page.evaluate("delete navigator.mediaDevices.getUserMedia")  # the browser's own again
    give(page, "street.png", encoded(IMAGE))
    expect(page.locator("#error")).to_be_hidden()
    expect(page.locator("#result")).to_be_visible()


def test_page_takes_what_is_dropped_and_pasted_and_an_example(page):
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
    page.get_by_role("button", name="Example 1, a drawn street").click()
    expect(page.locator("#name")).to_have_text("example 1")


@pytest.mark.parametrize(("width", "side_by_side"), [(1280, True), (360, False)])
def test_page_fits_a_window(page, width, side_by_side):
    page.set_viewport_size({"width": width, "height": 800})
    give(page, "street.png", encoded(IMAGE))
    expect(page.locator("#status")).to_have_text("street.png is segmented.")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overlay, legend = (page.locator(name).bounding_box() for name in ("#overlay", "#legend"))
    assert (legend["x"] >= overlay["x"] + overlay["width"]) == side_by_side
    assert (legend["y"] >= overlay["y"] + overlay["height"]) != side_by_side


def test_page_asks_its_own_site_alone_and_works_without_it(browser, folder):
    requests, faults = [], []
    with serve(folder) as (address, end):
        page = open_page(browser, address, faults, requests)
        assert_runs(page, 1)  # of a host without headers
        give(page, "street.png", encoded(IMAGE))
        before = np.asarray(mask_of(page, "street.png"))
        end()
        give(page, "flipped.png", encoded(IMAGE[:, ::-1]))
        assert equal(mask_of(page, "flipped.png"), before) < 1
        # Now from what it has kept, and isolated by itself.
        page.reload()
        expect(page.locator("#status")).to_have_text("Ready.")
        assert_runs(page, most_threads(page))
        give(page, "street.png", encoded(IMAGE))
        np.testing.assert_array_equal(np.asarray(mask_of(page, "street.png")), before)
        page.get_by_role("button", name="Example 3, a drawn street").click()
        expect(page.locator("#status")).to_have_text("example 3 is segmented.")
        page.context.close()
    asked = {url.removeprefix(address) for url in requests if not url.startswith("blob:")}
    assert asked <= {str(path.relative_to(folder)) for path in folder.rglob("*.*")} | {""}
    assert {"model.onnx", "runtime/ort-wasm-simd-threaded.wasm"} <= asked
    assert not any("webgpu" in name or "asyncify" in name for name in asked)
    assert not faults


def test_page_sees_pictures_at_the_size_of_training(browser, folder, segmenter, tmp_path):
    shutil.copytree(folder, tmp_path / "page")
    file = tmp_path / "page" / "network.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "image_size": [33, 45]}))
    with serve(tmp_path / "page") as (address, _):
        page = open_page(browser, address)
        expect(page.get_by_label("Detail")).to_have_value("training")
        give(page, "street.png", encoded(IMAGE))
        assert equal(mask_of(page, "street.png"), segmenter.predict(IMAGE, size=(33, 45)).labels) > 0.98
        expect(page.locator("#facts")).to_contain_text("24 × 16 pixels, seen at 45 × 33; ")
        page.context.close()


def test_page_says_which_file_its_site_lacks(browser, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "page")
    (tmp_path / "page" / "model.onnx").unlink()
    with serve(tmp_path / "page") as (address, _):
        page = browser.new_page()
        page.goto(address)
        expect(page.locator("#error")).to_contain_text(
            "model.onnx cannot be loaded (status 404); look whether the site"
        )
        page.close()


@pytest.mark.slow
def test_page_runs_on_a_graphics_card(playwright, folder, segmenter):
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
    browser = launch(playwright, *flags)
    with serve(folder) as (address, _):
        page = open_page(browser, address)
        expect(page.locator("#runs-on")).to_have_attribute("data-runs", "webgpu")
        give(page, "street.png", encoded(IMAGE))
        assert equal(mask_of(page, "street.png"), segmenter.predict(IMAGE).labels) > 0.98
        page.get_by_role("link", name="Use the processor").click()
        expect(page.locator("#runs-on")).to_have_attribute("data-runs", "wasm")
        browser.close()
