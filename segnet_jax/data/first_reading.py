"""Reads a whole data set once, before training."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

from segnet_jax.data.class_table import VOID, UnknownLabelError
from segnet_jax.data.dataset import Dataset
from segnet_jax.errors import InputError

_SHOWN = 40

_log = logging.getLogger("segnet_jax")


def check_examples(dataset: Dataset) -> None:
    """Reads every example of a data set that lies in files, so that a bad file shows before training, not during it.

    Such data sets have a method `fingerprint`.

    Raises:
      InputError: a file is damaged, a label is not in the class table (by file, value and pixel, followed by the values
        of all other masks that it lacks), or all pixels of the split are void.
    """
    if not hasattr(dataset, "fingerprint"):
        return
    _log.info("Reading the %d images and labels of %s (%s) once.", len(dataset), dataset.name, dataset.split)

    def read(index: int) -> bool | UnknownLabelError:
        """Returns whether an example has a labelled pixel, or what the class table lacks of it."""
        try:
            return bool((dataset[index]["label"] != VOID).any())
        except UnknownLabelError as error:
            return error

    with ThreadPoolExecutor() as pool:
        results = list(pool.map(read, range(len(dataset))))
    unknown = [result for result in results if isinstance(result, UnknownLabelError)]
    values = sorted({value for error in unknown for value in error.values})
    if len(values) == 1:
        raise unknown[0]
    if values:
        shown = ", ".join(map(str, values[:_SHOWN])) + (", ..." if len(values) > _SHOWN else "")
        raise InputError(
            f"{unknown[0]} In all, {len(unknown)} masks of {dataset.split} hold {len(values)} values that the table "
            f"lacks: {shown}."
        )
    if not any(results):
        raise InputError(
            f"All pixels of the {len(dataset)} {dataset.split} masks of {dataset.name} are void, so there is nothing "
            "to train on or to score; correct the masks, or mark fewer entries of the class table as ignored."
        )
