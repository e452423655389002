"""Progress of a run: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Self, TextIO

from tqdm import tqdm


class Progress:
    """Reports step, loss, learning rate, images per second, data wait and time left of a run.

    Every `log_every` steps, and at the last one, a plain line goes to `stream`; on a terminal a bar shows the same
    instead. The first step of the process, which compiles, is reported by itself and counts neither for the images per
    second nor for the time left; nor does the time in `pause`. The second step is reported too, as the first that tells
    how long the run will take. "data wait" is the share of the time that the steps
    spent waiting for the data: far above zero means that the input pipeline is the bottleneck.

    Args:
      total_steps: the number of the last step.
      first_step: the number of the first step that this process takes: 1, or s + 1 after it has resumed at step s.
      batch_size: images in a step, over all devices and processes.
      log_every: steps between two reports.
      stream: where to; None for the processes of a run that are not the first, which keep silent.
      clock: seconds, from any starting point.
    """

    def __init__(
        self,
        total_steps: int,
        first_step: int,
        batch_size: int,
        *,
        log_every: int,
        stream: TextIO | None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._total_steps = total_steps
        self._first_step = first_step
        self._batch_size = batch_size
        self._log_every = log_every
        self._stream = stream
        self._clock = clock
        self._bar: Any = None
        if stream is not None and stream.isatty():
            self._bar = tqdm(
                total=total_steps,
                initial=first_step - 1,
                file=stream,
                dynamic_ncols=True,
                # tqdm's own rates would count the compilation and the pauses.
                bar_format="{n_fmt}/{total_fmt} |{bar:20}|{desc}",
            )
        self._steps_timed = 0
        self._seconds_timed = 0.0
        self._start_window(first_step - 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()  # leaves the bar as it is and goes to the next line

    @contextmanager
    def data_wait(self) -> Iterator[None]:
        """Counts the time within it as waiting for data; goes around the call that gets the next batch."""
        start = self._clock()
        yield
        self._waited += self._clock() - start

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves the time within it out; goes around evaluation, images and checkpoints."""
        start = self._clock()
        yield
        self._paused += self._clock() - start

    def update(self, step: int, values: Mapping[str, float]) -> dict[str, float] | None:
        """Counts a step, and reports where a report is due.

        Args:
          step: the number of the step that has been taken.
          values: what to show of it, e.g. loss and learning rate.

        Returns:
          "images_per_second" and "data_wait" (a share, 0 to 1) since the last report, but neither of the first step;
          None where no report is due.
        """
        if self._bar is not None:
            self._bar.update(step - self._bar.n)
        is_first = step == self._first_step
        is_due = step % self._log_every == 0 or step == self._total_steps
        if not (is_first or is_due or step == self._first_step + 1):
            return None
        shown = "".join(f"  {name} {value:.4g}" for name, value in values.items())
        position = f"step {step:>{len(str(self._total_steps))}}/{self._total_steps}"
        seconds = self._clock() - self._window_start - self._paused
        if is_first:
            self._write(f"{position}{shown}  first step took {seconds:.1f} s, compilation included")
            self._start_window(step)
            return {} if is_due else None
        steps_timed = self._steps_timed + step - self._window_step
        seconds_timed = self._seconds_timed + seconds
        rates = {
            "images_per_second": (step - self._window_step) * self._batch_size / seconds,
            "data_wait": self._waited / seconds,
        }
        left = timedelta(seconds=round((self._total_steps - step) * seconds_timed / steps_timed))
        shown += f"  images/s {rates['images_per_second']:.4g}  data wait {rates['data_wait']:.0%}  eta {left}"
        if self._bar is not None:
            self._bar.set_description_str(shown)
        else:
            self._write(position + shown)
        if not is_due:
            return None
        self._steps_timed, self._seconds_timed = steps_timed, seconds_timed
        self._start_window(step)
        return rates

    def _write(self, line: str) -> None:
        """Writes a line of its own, above the bar if there is one."""
        if self._bar is not None:
            self._bar.write(line, file=self._stream)
        elif self._stream is not None:
            print(line, file=self._stream, flush=True)

    def _start_window(self, step: int) -> None:
        self._window_step = step
        self._window_start = self._clock()
        self._waited = 0.0
        self._paused = 0.0
