"""Runs docs/quickstart.ipynb."""

import base64
import io
import re

import pytest
from PIL import Image

from tests.helpers.paths import ROOT

nbformat = pytest.importorskip("nbformat", reason="nbformat comes with requirements-dev.txt")
nbclient = pytest.importorskip("nbclient", reason="nbclient comes with requirements-dev.txt")
pytest.importorskip("ipykernel", reason="ipykernel comes with requirements-dev.txt")
pytest.importorskip("matplotlib", reason="matplotlib comes with requirements-report.txt")


def shown(notebook):
    """Returns what the cells print, and the pictures that they show."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    pngs = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.text for output in outputs if output.output_type == "stream")
    return text, [Image.open(io.BytesIO(base64.b64decode(png))) for png in pngs]


def mean_iou(text):
    return float(re.search(r"mIoU (\S+)  BF", text)[1])


@pytest.mark.ci
def test_quickstart_runs_and_shows_what_is_kept_in_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("XLA_FLAGS", "")  # one device
    notebook = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
    text, pictures = shown(notebook)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    new_text, new_pictures = shown(notebook)
    assert mean_iou(new_text) > 35
    assert abs(mean_iou(new_text) - mean_iou(text)) < 10
    assert [picture.size for picture in new_pictures] == [picture.size for picture in pictures]
    assert len(pictures) == 2
    assert not list(tmp_path.iterdir())
