"""Checks of the number of images in a training batch."""

from __future__ import annotations

import logging

from segnet_jax.errors import InputError

_log = logging.getLogger("segnet_jax")


def check_batch_fits(batch_size: int, num_examples: int) -> None:
    """Says that a batch is larger than the training split, and refuses one that is larger by far.

    Raises:
      InputError: if it holds each image more than ten times, and is not small either.
    """
    most = max(256, 10 * num_examples)
    if batch_size > most:
        raise InputError(
            f"train.batch_size={batch_size} is far beyond the {num_examples} training images; take {most} at most."
        )
    if batch_size > num_examples:
        _log.warning(
            "train.batch_size=%d is larger than the training split: each batch has some of its %d images repeatedly.",
            batch_size,
            num_examples,
        )


def check_batch_size(batch_size: int, num_devices: int, accumulation_steps: int = 1) -> None:
    """Checks that a batch divides by the devices and the accumulation steps.

    Raises:
      InputError: if it does not, with the nearest sizes that do.
    """
    unit = num_devices * accumulation_steps
    if batch_size % unit:
        below, above = batch_size // unit * unit, -(-batch_size // unit) * unit
        fitting = f"{below} or {above}" if below else str(above)
        accumulation = f" times {accumulation_steps} accumulation steps" if accumulation_steps > 1 else ""
        raise InputError(
            f"train.batch_size={batch_size} does not divide by {num_devices} devices{accumulation}; "
            f"take {fitting}, or another multiple of {unit}."
        )
