"""Evaluation of a network that reconstructs its input: unsupervised training (arXiv 1505.07293, section 5)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from segnet_jax import visualize
from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.dataset import Dataset, modality_names_of
from segnet_jax.data.preprocessing import Normalize
from segnet_jax.evaluation.evaluator import Evaluator, Stopped
from segnet_jax.evaluation.picture_choice import PictureChoice
from segnet_jax.evaluation.result import Evaluation, Picture
from segnet_jax.models.base import SegmentationModel
from segnet_jax.runtime.sharding import AXIS, from_devices, map_over_devices

# Normalised values from -3 to 3 are drawn as 0 to 255.
_DRAWN_RANGE = 3.0


class ReconstructionEvaluation(Evaluation):
    """The result of evaluating a network that reconstructs its input.

    The report has `mean_squared_error`, of normalised values; `explained_variance`, 1 minus its ratio to the variance
    of each channel; and `images`. The pictures are image, normalised input and reconstruction.
    """

    @property
    def scores(self) -> dict[str, float]:
        """The scores that are followed over time and saved with a checkpoint."""
        return {key: self.report[key] for key in ("mean_squared_error", "explained_variance")}

    @property
    def class_scores(self) -> dict[str, float]:
        """None: there are no classes."""
        return {}

    def line(self) -> str:
        """Returns the scores in a line."""
        error, explained = self.scores.values()
        return f"mean squared error {error:.4g}, explained variance {100 * explained:.2f} %"

    def table(self) -> str:
        """Returns the same, with the number of images."""
        return f"{self.line()}, {self.report['images']:,} images"

    def draw(self, class_table: ClassTable) -> Image.Image | None:
        """Draws image, input and reconstruction of each picture; None without pictures."""
        if not self.pictures:
            return None
        rows = [(picture.image, picture.label, picture.prediction) for picture in self.pictures]
        return visualize.picture_grid(rows, ("image", "normalised input", "reconstruction"))


def reconstruction_step(
    variables: Any, batch: dict[str, jax.Array], *, model: SegmentationModel, normalize: Normalize
) -> tuple[jax.Array, jax.Array]:
    """Reconstructs one device's share of a batch, and sums the error over all devices.

    Args:
      variables: `params` and `batch_stats`.
      batch: `image` uint8 or float32 [b, H, W, channels] and `index` int32 [b], see `pipeline.eval_batches`.
      model: gives as many channels as it takes.
      normalize: from images to the network's input.

    Returns:
      float32 [4, channels], summed over `AXIS`: squared errors, input, squared input, and the number of values.
      Input and reconstruction drawn, uint8 [b, H, W, 2, min(channels, 3)].
    """
    inputs = normalize(batch["image"])
    outputs: jax.Array = model.apply(variables, inputs, train=False)  # type: ignore[assignment]
    full = batch["index"][:, None, None, None] >= 0
    terms = (jnp.square(outputs.astype(jnp.float32) - inputs), inputs, jnp.square(inputs), jnp.ones_like(inputs))
    sums = jnp.stack([jnp.sum(jnp.where(full, term, 0.0), axis=(0, 1, 2)) for term in terms])
    both = jnp.stack([inputs, outputs.astype(jnp.float32)], axis=3)[..., :3]
    drawn = jnp.clip((both / _DRAWN_RANGE + 1) * 127.5, 0, 255).astype(jnp.uint8)
    return jax.lax.psum(sums, AXIS), drawn


class ReconstructionEvaluator(Evaluator):
    """Evaluates whole splits with a network that reconstructs its input; the arguments are those of `Evaluator`."""

    result: ClassVar[type[Evaluation]] = ReconstructionEvaluation

    def __init__(
        self, model: SegmentationModel, normalize: Normalize, devices: Sequence[jax.Device], **options: Any
    ) -> None:
        """Compiles nothing yet."""
        super().__init__(model, normalize, devices, **options)
        step = functools.partial(reconstruction_step, model=model, normalize=normalize)
        self._step = map_over_devices(step, devices, out_axes=(None, 0))
        self._sent = ("image", "index")

    def __call__(
        self,
        variables: Any,
        dataset: Dataset,
        *,
        boundary_f1: bool = False,
        num_pictures: int = 0,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> ReconstructionEvaluation:
        """Evaluates a split as `Evaluator` does; `boundary_f1` changes nothing."""
        totals: Any = 0.0
        pictures = PictureChoice(num_pictures, len(dataset))
        is_rgb = modality_names_of(dataset)[0] == "rgb"
        for batch, (sums, device_drawn) in self._one_behind(variables, self._batches(dataset)):
            if should_stop():
                raise Stopped
            totals = totals + np.asarray(sums, np.float64)
            for i, index in enumerate(batch["index"].tolist()):
                if pictures.wants(index):
                    drawn = from_devices(device_drawn)
                    picture = visualize.rgb_of(batch["image"][i], is_rgb)
                    pictures.add(index, Picture(picture, drawn[i, :, :, 0], drawn[i, :, :, 1]))
        errors, values, squares, counts = totals
        variance = np.sum(squares - values**2 / counts)
        report = {
            "mean_squared_error": float(errors.sum() / counts.sum()),
            "explained_variance": float(1 - errors.sum() / variance) if variance else 0.0,
            "images": len(dataset),
        }
        return ReconstructionEvaluation(report, pictures.gather())
