import importlib.metadata
import re
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from segnet_jax.export import __main__ as export
from segnet_jax.inference.segmenter import from_pretrained
from tests.helpers.exported import noise
from tests.helpers.paths import ROOT

FORMATS = ["onnx", "stablehlo"]


@pytest.fixture(params=FORMATS)
def example(request, trained_run, tmp_path):
    """The format, the arguments of its script, which name files in a folder, and what the script must find."""
    file, image, labels = (tmp_path / name for name in (f"network.{request.param}", "image.png", "labels.png"))
    assert export.main([str(trained_run), f"--format={request.param}", f"--output={file}"]) == 0
    Image.fromarray(noise(16, 24, 3)).save(image)
    script = ROOT / "examples" / f"segment_{request.param}.py"
    return request.param, [str(script), *map(str, (file, image, labels))], from_pretrained(trained_run).predict(image)


def assert_found(format, arguments, expected, printed):
    np.testing.assert_array_equal(np.asarray(Image.open(arguments[-1])), expected.labels)
    first, share = expected.class_table.names[0], expected.shares()[expected.class_table.names[0]]
    assert printed.splitlines()[0] == f"{share:7.2%}  {first if format == 'onnx' else 'class 0'}"


@pytest.mark.ci
def test_examples_segment_an_image_with_the_runtime_alone(example, tmp_path):
    format, arguments, expected = example
    foreign = {"onnx": ["segnet_jax", "jax", "flax"], "stablehlo": ["segnet_jax", "flax", "onnx", "onnxruntime"]}
    # As where none of these is installed.
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({foreign[format]}))
sys.argv = {arguments}
runpy.run_path(sys.argv[0])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert_found(format, arguments, expected, done.stdout)


@pytest.mark.slow
def test_examples_segment_an_image_in_an_environment_of_what_they_name(example, tmp_path):
    format, arguments, expected = example
    text = Path(arguments[0]).read_text(encoding="utf-8")
    names = re.split(r", | and ", re.search(r"needs (.+)\.\n", text)[1])
    assert {"onnx": "onnxruntime", "stablehlo": "jax"}[format] in names
    venv.create(tmp_path / "venv", with_pip=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    versions = [f"{name}=={importlib.metadata.version(name)}" for name in names]
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *versions]
    installed = subprocess.run(install, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"pip installs nothing here: {installed.stderr.strip().splitlines()[-1]}")
    done = subprocess.run([python, "-I", *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert_found(format, arguments, expected, done.stdout)
    foreign = subprocess.run([python, "-I", "-c", "import segnet_jax"], cwd=tmp_path, capture_output=True, check=False)
    assert foreign.returncode == 1
