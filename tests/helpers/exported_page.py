"""Writes the page of a network, opens it in a browser and gives it files."""

from segnet_jax.export.program import Program
from segnet_jax.export.web import page_files, web_model
from segnet_jax.inference.from_config import build_preparation
from tests.helpers.chromium import expect


def write_page(segmenter, runtime, folder):
    """Writes the page of a segmenter's network into a folder, which is made."""
    trained = segmenter.trained
    program = Program(
        trained,
        build_preparation(trained.config, trained.modalities, trained.modality_names, trained.channel_statistics),
        "logits",
    )
    model, smallest = web_model(program)
    for name, content in page_files(program, model.SerializeToString(), smallest, runtime).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def open_page(browser, address, faults=None, requests=None):
    """Opens a page in a browser that has not seen it, and waits until it is ready; notes errors and addresses."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    page = context.new_page()
    if faults is not None:
        page.on("pageerror", lambda error: faults.append(str(error)))
    if requests is not None:
        context.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    expect(page.locator("#status")).to_have_text("Ready.")
    return page


def give(page, name, content, kind="image/png"):
    page.set_input_files("#file", [{"name": name, "mimeType": kind, "buffer": content}])
