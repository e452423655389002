"""Segments videos: an overlay of every frame, and masks on request. PyAV reads and writes them."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from segnet_jax.errors import InputError
from segnet_jax.inference.segmenter import Segmenter
from segnet_jax.runtime.files import write_errors


def segment_video(
    segmenter: Segmenter, source: Path, folder: Path, *, masks: bool = False, alpha: float = 0.5, **options: Any
) -> Path:
    """Writes `NAME_overlay.mp4` (H.264), and with `masks` the labels of frame n as `NAME/00000n.png`.

    Args:
      segmenter: the network.
      source: the video.
      folder: for the results, made if it does not exist.
      masks: whether labels are written.
      alpha: share of the class colours in the overlay.
      **options: fields of `segmenter.Options`.

    Returns:
      The path of the overlay, which is there once it is whole.

    Raises:
      InputError: if PyAV is missing, the video cannot be read, or the results cannot be written.
    """
    try:
        import av
    except ImportError as error:
        raise InputError("Videos need PyAV: pip install -r requirements-video.txt") from error
    if not source.is_file():
        raise InputError(f"{source} does not exist; correct the path.")
    target = folder / f"{source.stem}_overlay.mp4"
    aside = target.with_name(f"{target.stem}.tmp.mp4")
    with write_errors(folder):
        (folder / source.stem if masks else folder).mkdir(parents=True, exist_ok=True)
    try:
        with av.open(str(source)) as reader:
            if not reader.streams.video:
                raise InputError(f"{source} holds no video; give a video file.")
            stream = reader.streams.video[0]
            rate = stream.average_rate or Fraction(25)
            frames = (frame.to_ndarray(format="rgb24") for frame in reader.decode(stream))
            results = segmenter.predict_each(frames, **options)
            with av.open(str(aside), "w") as writer:
                output = None
                for number, found in enumerate(tqdm(results, total=stream.frames or None, unit=" frames")):
                    picture = _even(found.overlay(alpha))
                    if output is None:
                        output = writer.add_stream("libx264", rate=rate)
                        output.height, output.width = picture.shape[:2]
                        output.pix_fmt = "yuv420p"
                    writer.mux(output.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
                    if masks:
                        found.save(folder / source.stem / f"{number:06d}.png")
                if output is None:
                    raise InputError(f"{source} holds no frame that can be read; give another video file.")
                writer.mux(output.encode())
        os.replace(aside, target)
    except av.FFmpegError as error:
        raise InputError(f"{source} cannot be read or {target} not written ({error}); give another file.") from error
    finally:
        aside.unlink(missing_ok=True)
    return target


def _even(picture: np.ndarray) -> np.ndarray:
    """Returns a picture of even height and width, as H.264 needs them, by repeating its border."""
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
