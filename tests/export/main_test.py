import importlib.util

import numpy as np
import onnxruntime
import pytest

from segnet_jax.export import __main__ as export
from segnet_jax.inference.segmenter import from_pretrained
from tests.helpers.exported import noise


@pytest.mark.ci
def test_main_writes_a_file_that_gives_the_labels_of_the_segmenter(trained_run, tmp_path, capsys):
    file = tmp_path / "new" / "network.onnx"
    assert export.main([str(trained_run), "--format=onnx", f"--output={file}"]) == 0
    printed = capsys.readouterr().out
    assert "100.00 % equal labels, at 33x45, 64x48, 48x80" in printed and "of the largest logit" in printed
    image = noise(16, 24, 3)
    (labels,) = onnxruntime.InferenceSession(file).run(None, {"images": image[None]})
    np.testing.assert_array_equal(labels[0], from_pretrained(trained_run).predict(image, size=()).labels)
    assert [path.name for path in file.parent.iterdir()] == ["network.onnx"]


def test_main_leaves_nothing_of_a_network_that_differs(trained_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "_TOLERANCE", {False: (0.0, 1.0)})
    arguments = [str(trained_run), "--format=onnx", "--outputs=logits", f"--output={tmp_path / 'network.onnx'}"]
    assert export.main(arguments) == 1
    assert "does not compute what the network does: largest difference" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("where", "output", "more", "message"),
    [
        ("no/where/at/all", "x.onnx", [], "is no work directory"),
        (None, ".", [], "is a folder; give a file"),
        (None, "file/x.onnx", [], "cannot be written"),
        (None, "x", ["--format=stablehlo", "--native"], "are for --format=onnx"),
    ],
)
def test_main_says_in_a_sentence_what_is_wrong(where, output, more, message, trained_run, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    arguments = [where or str(trained_run), "--format=onnx", f"--output={tmp_path / output}", *more]
    assert export.main(arguments) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_main_names_the_requirements_that_are_missing(trained_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert export.main([str(trained_run), "--format=stablehlo", f"--output={tmp_path / 'x'}"]) == 1
    assert "needs flatbuffers; pip install -r requirements-export.txt" in capsys.readouterr().err
