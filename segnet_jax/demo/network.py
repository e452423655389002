"""The network behind the page: from a picture's file to everything that the page shows."""

from __future__ import annotations

import base64
import io
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.image_files import image_shape
from segnet_jax.errors import InputError
from segnet_jax.inference.from_config import describe_training
from segnet_jax.inference.segmenter import Segmenter

PAGE = Path(__file__).parent / "page"
EXAMPLES = sorted((PAGE / "examples").glob("*.jpg"))

# Of a picture that the network sees, where training had no fixed size: memory and time grow with them.
_SEEN_PIXELS = 1_000_000
# Browsers draw no larger pictures.
_MAX_SIDE = 16_384
# Every new size compiles a program, and a process has memory for some thousands of them.
_KEPT_SIZES = 100


class DemoNetwork:
    """Segments pictures for the page.

    Attributes:
      samples: stochastic passes for the uncertainty; 0 if the network has no dropout.
      max_pixels: of a picture.

    Raises:
      InputError: if the network takes other images than RGB.
    """

    def __init__(self, segmenter: Segmenter, samples: int, max_pixels: int) -> None:
        """Takes a network, and compiles it on an example."""
        trained = segmenter.trained
        if not trained.takes_rgb:
            raise InputError(
                f"This network takes images of {sum(trained.modalities)} channels, and the page has RGB pictures; give "
                "a network that was trained on these."
            )
        self._segmenter = segmenter
        self._sizes: set[tuple[int, int]] = set()
        self.samples = samples if trained.model.dropout_rate else 0
        self.max_pixels = max_pixels
        segmenter.predict(EXAMPLES[0], size=self._size(*image_shape(EXAMPLES[0])))

    def describe(self) -> dict[str, Any]:
        """Returns what the page says of the network, as JSON values."""
        table = self._segmenter.class_table
        colors = table.colors.tolist()
        name, dataset, _, _ = describe_training(self._segmenter.trained.run_config)
        return {
            "network": name,
            "dataset": dataset,
            "classes": [{"name": name, "color": color} for name, color in zip(table.names, colors, strict=True)],
            "samples": self.samples,
            "max_pixels": self.max_pixels,
            "examples": [path.name for path in EXAMPLES],
        }

    def segment(self, file: bytes, uncertainty: bool = False) -> dict[str, Any]:
        """Segments a picture.

        Args:
          file: the content of an image file.
          uncertainty: whether `samples` stochastic passes are made.

        Returns:
          JSON values, files in base64: `input` (JPEG), `mask` (indexed PNG at the picture's own size), `uncertainty`
          (a heat map as PNG, or None) with its `greatest` value; `shares` of the classes; `size` and `seen`, what the
          network saw, each [height, width]; `seconds` that the network took.

        Raises:
          InputError: if the file is no image, is damaged or is too large. It does not name a file of this machine.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "picture"
            path.write_bytes(file)
            try:
                height, width = image_shape(path)
                self._refuse_large(height, width)
                image = self._segmenter.read(path)
            except InputError as error:
                raise InputError(str(error).replace(str(path), "The file")) from error
            seen = self._size(height, width)
            start = time.perf_counter()
            samples = self.samples if uncertainty else 0
            found = self._segmenter.predict(image, size=seen, samples=samples)
            seconds = time.perf_counter() - start
            labels = Path(folder) / "labels.png"
            found.save(labels)
            mask = labels.read_bytes()
        greatest = 0.0 if found.uncertainty is None else float(found.uncertainty.max())
        heat = None if found.uncertainty is None else visualize.heat_map(found.uncertainty, greatest)
        return {
            "size": [height, width],
            "seen": list(seen),
            "seconds": round(seconds, 3),
            "shares": list(found.shares().values()),
            "input": _base64(_encoded(image, "JPEG", quality=90)),
            "mask": _base64(mask),
            "uncertainty": None if heat is None else _base64(_encoded(heat, "PNG")),
            "greatest": greatest,
        }

    def _refuse_large(self, height: int, width: int) -> None:
        if height * width > self.max_pixels:
            raise InputError(
                f"The picture has {height} x {width} pixels, more than the {self.max_pixels / 1e6:g} million that this "
                "page takes; make it smaller."
            )
        if max(height, width) > _MAX_SIDE:
            raise InputError(
                f"The picture has {height} x {width} pixels, and this page takes {_MAX_SIDE} at most on a side; cut it."
            )

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """Returns the (height, width) at which the network sees a picture: that of training, if it is not too large."""
        if len(self._sizes) >= _KEPT_SIZES and (height, width) not in self._sizes:
            jax.clear_caches()
            self._sizes.clear()
        self._sizes.add((height, width))
        seen = self._segmenter.network_size(height, width)
        scale = math.sqrt(_SEEN_PIXELS / math.prod(seen))
        return seen if scale >= 1 else (max(1, int(seen[0] * scale)), max(1, int(seen[1] * scale)))


def _encoded(pixels: np.ndarray, kind: str, **options: Any) -> bytes:
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, kind, **options)
    return content.getvalue()


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
