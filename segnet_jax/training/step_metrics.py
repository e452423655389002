"""The metrics of steps, read one step late and reported as means."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import optax
from clu import metrics as clu_metrics

from segnet_jax.checkpoint.manager import Checkpoints
from segnet_jax.training.metric_writer import MetricWriter
from segnet_jax.training.progress import Progress


class StepMetrics:
    """Reads the metrics of each step one step later, stops at NaN, and logs their means when a report is due.

    Args:
      learning_rate: as a function of the steps done, to be shown; None shows none.
      advice: the way out of a value that is not finite.
      writer: takes the means, in the one process that writes.
      progress: shows them, and knows when they are due.
      checkpoints: tells which step is kept.
    """

    def __init__(
        self,
        learning_rate: optax.Schedule | None,
        advice: str,
        writer: MetricWriter | None,
        progress: Progress,
        checkpoints: Checkpoints,
    ) -> None:
        """Has read nothing yet."""
        self._learning_rate, self._advice = learning_rate, advice
        self._writer, self._progress, self._checkpoints = writer, progress, checkpoints
        self._pending: tuple[int, clu_metrics.Collection] | None = None
        self._window: Any = None

    def add(self, step: int, metrics: clu_metrics.Collection) -> None:
        """Takes the metrics of `step`, and reads those of the step before.

        Raises:
          FloatingPointError: if the loss or the gradient of the step before is not finite.
        """
        self.flush()
        self._pending = step, metrics

    def flush(self) -> None:
        """Reads the metrics of the last step taken, waiting for it if it is under way; raises as `add` does."""
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        metrics = jax.device_get(metrics)
        self._require_finite(step, metrics.compute())
        self._window = metrics if self._window is None else self._window.merge(metrics)
        means = {name: float(value) for name, value in self._window.compute().items()}
        rate = None if self._learning_rate is None else float(self._learning_rate(step - 1))
        shown = {"loss": means["loss"]} if rate is None else {"loss": means["loss"], "learning rate": rate}
        rates = self._progress.update(step, shown)
        if rates is None:
            return
        self._window = None
        if self._writer is not None:
            scalars = {**means, **({} if rate is None else {"learning_rate": rate}), **rates}
            self._writer.write_scalars(step, {f"train/{name}": value for name, value in scalars.items()})

    def _require_finite(self, step: int, values: dict[str, Any]) -> None:
        for name in ("loss", "gradient_norm"):
            if not np.isfinite(values[name]):
                self._checkpoints.wait()
                latest = self._checkpoints.latest_step()
                kept = "there is no checkpoint yet" if latest is None else f"the checkpoint of step {latest} is kept"
                raise FloatingPointError(
                    f"The {name.replace('_', ' ')} of step {step} is {values[name]}; {kept}. {self._advice}"
                )
