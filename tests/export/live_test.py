"""Drives an exported page with the camera and a video in a real Chromium, without a window."""

import numpy as np
import pytest

from tests.helpers.chromium import expect
from tests.helpers.exported_page import give

pytestmark = pytest.mark.ci


def test_page_segments_the_camera_until_it_is_stopped(page):
    page.get_by_role("button", name="Use the camera").click()
    expect(page.locator("#name")).to_have_text("camera")
    expect(page.locator("#facts")).to_contain_text(" frames a second")
    page.keyboard.press("p")
    expect(page.locator("#pause")).to_have_text("Continue")
    page.keyboard.press("Escape")
    expect(page.locator("#live")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("Stopped.")
    assert page.evaluate("document.getElementById('video').srcObject") is None


@pytest.fixture
def video(tmp_path):
    """The bytes of a WebM file with a second of 64x48 pixels."""
    av = pytest.importorskip("av", reason="PyAV comes with requirements-video.txt")
    with av.open(str(tmp_path / "street.webm"), "w") as container:
        stream = container.add_stream("libvpx", rate=5, options={"cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in range(0, 200, 40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8))))
        container.mux(stream.encode())
    return (tmp_path / "street.webm").read_bytes()


def test_page_segments_a_video(page, video):
    give(page, "street.webm", video, "video/webm")
    expect(page.locator("#name")).to_have_text("street.webm")
    expect(page.locator("#facts")).to_contain_text("64 × 48 pixels")
    expect(page.locator("#pause")).to_have_text("Continue")  # it has ended
    page.locator("#stop").click()


def test_page_waits_for_the_first_picture_of_a_video(page, video):
    # A browser that is busy may play for a while before it has one.
    page.evaluate(
        """() => {
            const [ask, take] = [HTMLVideoElement.prototype.requestVideoFrameCallback, createImageBitmap];
            window.createImageBitmap = () => Promise.reject(new Error("no picture yet"));
            HTMLVideoElement.prototype.requestVideoFrameCallback = function (tell) {
                HTMLVideoElement.prototype.requestVideoFrameCallback = ask;
                ask.call(this, () => setTimeout(() => { window.createImageBitmap = take; tell(); }, 300));
            };
        }"""
    )
    give(page, "late.webm", video, "video/webm")
    expect(page.locator("#name")).to_have_text("late.webm")
    expect(page.locator("#error")).to_be_hidden()
    page.locator("#stop").click()
