"""Tests for segnet_jax/data/first_reading.py."""

import numpy as np
import pytest

from segnet_jax.data.class_table import ClassTable
from segnet_jax.data.datasets.folder import Folder
from segnet_jax.data.first_reading import check_examples
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, TABLE, open_all, save, write


def test_check_examples_names_all_values_that_the_table_lacks_at_once(tmp_path):
    write(tmp_path, list("abcde"))
    for stem, (first, second) in {"b": (4, 9), "c": (7, 3), "e": (9, 300)}.items():
        mask = np.full(SIZE, first, np.uint16)
        mask[2, 5] = second
        save(tmp_path / "masks" / f"{stem}.png", mask)
    message = (
        r"masks/b\.png: the label id 4 at row 0, .* In all, 3 masks of train hold 4 values .* lacks: 4, 7, 9, 300\.$"
    )
    with pytest.raises(InputError, match=message):
        check_examples(open_all(tmp_path))
    for stem, (first, second) in {"b": ((1, 2, 3), (128, 64, 128)), "c": ((9, 9, 9), (1, 2, 3)), "e": (0, 0)}.items():
        mask = np.full((*SIZE, 3), first, np.uint8)
        mask[2, 5] = second
        save(tmp_path / "masks" / f"{stem}.png", mask)
    message = r"2 masks of train hold 2 values that the table lacks: \(1, 2, 3\), \(9, 9, 9\)\.$"
    with pytest.raises(InputError, match=message):
        check_examples(open_all(tmp_path))


def test_check_examples_refuses_a_split_that_is_all_void(tmp_path):
    write(tmp_path / "val", ["a", "b"], ids=255)
    with pytest.raises(InputError, match=f"All pixels of the 2 val masks of {tmp_path.name} are void"):
        check_examples(Folder(tmp_path, "val", TABLE))
    mask = np.full(SIZE, 255, np.uint8)
    mask[3, 5] = 5
    save(tmp_path / "val" / "masks" / "b.png", mask)
    check_examples(Folder(tmp_path, "val", TABLE))
    ignored = ClassTable.from_entries("t", [{"name": "a", "id": 3}, {"name": "b", "id": 5, "ignored": True}, "c"])
    with pytest.raises(InputError, match="mark fewer entries of the class table as ignored"):
        check_examples(Folder(tmp_path, "val", ClassTable("t", (*ignored.classes, TABLE.classes[-1]))))
