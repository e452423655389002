"""A Chromium without a window, for tests of pages; it skips them where there is none."""

import shutil

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright comes with requirements-dev.txt")
_PATH = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
if _PATH is None:
    pytest.skip("there is no Chromium; install one, such as Debian's chromium", allow_module_level=True)

# Whatever a browser asks of the world by itself.
_QUIET = [
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_CAMERA = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
expect = sync_api.expect
expect.set_options(timeout=30_000)


def launch(playwright, *flags):
    """Returns a browser with a camera that shows a drawn picture."""
    flags = ["--no-sandbox", *_QUIET, *_CAMERA, *(flags or ["--disable-gpu"])]
    return playwright.chromium.launch(executable_path=_PATH, args=flags)
