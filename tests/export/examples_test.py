import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from segnet_jax.export import __main__ as export
from segnet_jax.inference.segmenter import from_pretrained
from tests.helpers.exported import noise
from tests.helpers.paths import ROOT


@pytest.mark.parametrize(
    ("format", "foreign"), [("onnx", "segnet_jax, jax, flax"), ("stablehlo", "segnet_jax, flax, onnx, onnxruntime")]
)
def test_examples_segment_an_image_with_the_runtime_alone(format, foreign, trained_run, tmp_path):
    file, image, labels = (tmp_path / name for name in (f"network.{format}", "image.png", "labels.png"))
    assert export.main([str(trained_run), f"--format={format}", f"--output={file}"]) == 0
    pixels = noise(16, 24, 3)
    Image.fromarray(pixels).save(image)
    script = ROOT / "examples" / f"segment_{format}.py"
    # As where none of these is installed.
    code = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({foreign!r}.split(", ")))
sys.argv = [{str(script)!r}, {str(file)!r}, {str(image)!r}, {str(labels)!r}]
runpy.run_path({str(script)!r})
"""
    printed = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    expected = from_pretrained(trained_run).predict(image, size=())
    np.testing.assert_array_equal(np.asarray(Image.open(labels)), expected.labels)
    first, share = expected.class_table.names[0], expected.shares()[expected.class_table.names[0]]
    assert printed.stdout.splitlines()[0] == f"{share:7.2%}  {first if format == 'onnx' else 'class 0'}"
