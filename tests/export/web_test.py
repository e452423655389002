import json

import numpy as np
import onnxruntime
import pytest

from segnet_jax.errors import InputError
from segnet_jax.export import __main__ as export
from segnet_jax.export import web
from segnet_jax.export.onnx import INPUT
from segnet_jax.export.web import other_files, web_model
from segnet_jax.inference.segmenter import from_pretrained
from tests.helpers.exported import make_program, noise
from tests.helpers.paths import ROOT
from tests.helpers.web_runtime import pack_runtime

PAGE = ROOT / "segnet_jax" / "export" / "page"


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def arguments(trained_run, tmp_path, monkeypatch):
    """The command line but for the folder."""
    runtime = pack_runtime(tmp_path / "runtime.tgz", monkeypatch)
    return [str(trained_run), "--format=web", f"--runtime={runtime}"]


def test_main_writes_a_page_and_replaces_it(arguments, trained_run, tmp_path, capsys):
    folder = tmp_path / "new" / "page"
    for _ in range(2):
        assert export.main([*arguments, f"--output={folder}"]) == 0
    printed = capsys.readouterr().out
    assert "Compared with the network: " in printed and f"--directory {folder}" in printed
    assert [path.name for path in folder.parent.iterdir()] == ["page"]
    assert folder.stat().st_mode & 0o055 == 0o055  # any web server may read it
    description = json.loads((folder / "network.json").read_text())
    assert files_of(folder) == {*description["page"], *description["sizes"]}
    assert {path.name for path in PAGE.iterdir()} | {"page.css", "overlay.js", "icon.svg"} <= files_of(folder)
    for path, size in description["sizes"].items():
        assert (folder / path).stat().st_size == size
    for provider in description["runtime"].values():
        assert {f"runtime/{name}" for name in provider.values()} <= files_of(folder)
    segmenter = from_pretrained(trained_run)
    table = segmenter.class_table
    assert [entry["name"] for entry in description["classes"]] == list(table.names)
    assert [entry["color"] for entry in description["classes"]] == table.colors.tolist()
    assert (description["image_size"], description["resize"], description["smallest"]) == ([], "stretch", 1)
    image = noise(32, 48, 3)
    (logits,) = onnxruntime.InferenceSession(folder / "model.onnx").run(None, {INPUT: image[None]})
    assert np.mean(logits[0].argmax(-1) == segmenter.predict(image, size=()).labels) > 0.98


@pytest.mark.parametrize(
    ("place", "more", "message"),
    [
        ("held", [], "held holds other files, such as notes.txt; give a new or an empty folder."),
        ("held/notes.txt", [], "notes.txt is a file; give a folder."),
        ("held/notes.txt/page", [], "cannot be written"),
        ("page", ["--outputs=labels"], "--outputs and --no_preprocessing are not for --format=web; leave them out."),
        ("page", ["--native"], "are for --format=onnx"),
        ("page", ["--runtime=nowhere.tgz"], "nowhere.tgz cannot be read"),
    ],
)
def test_main_leaves_nothing_and_says_what_is_wrong(place, more, message, arguments, tmp_path, capsys):
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "notes.txt").write_text("mine")
    before = files_of(tmp_path)
    assert export.main([*arguments, f"--output={tmp_path / place}", *more]) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert files_of(tmp_path) == before and not (tmp_path / "page").exists()


def test_main_keeps_the_page_of_before_when_a_file_cannot_be_written(arguments, tmp_path, capsys, monkeypatch):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "network.json").write_text('{"page": ["network.json"], "sizes": {}}')
    monkeypatch.setattr(web, "page_files", lambda *_: {"a.js": b"", "a.js/b.js": b""})
    monkeypatch.setattr(
        export, "_export", lambda options, write, path: write(make_program("segnet_flat"), path, options)
    )
    assert export.main([*arguments, f"--output={folder}"]) == 1
    assert f"{folder} cannot be written" in capsys.readouterr().err
    assert files_of(tmp_path) == {"runtime.tgz", "page/network.json"}
    assert not list(tmp_path.glob("*.tmp"))


def test_main_has_a_runtime_for_pages_alone(trained_run, tmp_path, capsys):
    assert export.main([str(trained_run), "--format=onnx", "--runtime=x.tgz", f"--output={tmp_path / 'x'}"]) == 1
    assert capsys.readouterr().err == "error: --runtime is for --format=web; leave it out.\n"


def test_web_model_refuses_other_images_than_rgb():
    with pytest.raises(InputError, match="takes uint8 images of 4 channels, and the page has RGB pictures of 8 bits"):
        web_model(make_program("segnet_flat", pairs=1, preprocessing="lcn", modalities=(3, 1)))


def test_other_files_are_those_that_no_page_names(tmp_path):
    (tmp_path / "network.json").write_text('{"page": ["network.json", "a.js"], "sizes": {"runtime/b.wasm": 1}}')
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "b.wasm").touch()
    assert other_files(tmp_path) == set()
    (tmp_path / "runtime" / "mine.txt").touch()
    assert other_files(tmp_path) == {"runtime/mine.txt"}
    for damaged in ("[]", "{", "{}"):
        (tmp_path / "network.json").write_text(damaged)
        assert other_files(tmp_path) == {"network.json", "runtime/b.wasm", "runtime/mine.txt"}
