"""Tests for segnet_jax/data/matlab_files.py."""

import pickle
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.io

from segnet_jax.data.matlab_files import MatlabArrays, read_numbers, read_texts
from segnet_jax.errors import InputError
from tests.helpers.indoor_files import Hdf5Writer, cell

pytest.importorskip("h5py", reason="h5py comes with requirements-data.txt")
PAGE = "https://example.org/data"


def write_both(tmp_path):
    """The same variables in a file of either version."""
    described = np.zeros((1, 2), [("name", object), ("size", object)])
    described[0, 0], described[0, 1] = ("kitchen", 3.0), ("", 4.0)
    old = {"list": cell(["a/b", "c"]), "ids": np.array([[3], [1], [2]], np.uint16), "scenes": described}
    scipy.io.savemat(tmp_path / "old.mat", old)
    with Hdf5Writer(tmp_path / "new.mat") as file:
        file.cells("list", ["a/b", "c"])
        file.array("ids", np.array([[3], [1], [2]], np.uint16))
        file.cells("scenes/name", ["kitchen", ""])
        file.cells("scenes/size", [np.array([[3.0]]), np.array([[4.0]])])
    return tmp_path / "old.mat", tmp_path / "new.mat"


@pytest.mark.parametrize("version", [0, 1])
def test_matlab_files_of_both_versions_hold_the_same(tmp_path, version):
    path = write_both(tmp_path)[version]
    texts, names = read_texts(path, PAGE, "list", "scenes.name")
    assert texts == ["a/b", "c"]
    assert names == ["kitchen", ""]
    assert read_numbers(path, PAGE, "ids").tolist() == [3, 1, 2]
    for key in ("lists", "scenes.names", "ids.name"):
        with pytest.raises(
            InputError, match=rf"{path.name} holds no {key}; it is not the {path.name} that is obtained"
        ):
            read_texts(path, PAGE, key)


def write_stack(path, count=5):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 3, count), np.uint8)
    cells = [np.full((2 + i, 3), i, np.uint8) for i in range(count)]
    with Hdf5Writer(path) as file:
        file.array("images", images)
        file.cells("all/labels", cells)
    return images, cells


def test_matlab_arrays_are_read_one_by_one_in_the_order_of_matlabs_axes(tmp_path):
    images, cells = write_stack(tmp_path / "a.mat")
    arrays = MatlabArrays(tmp_path / "a.mat", PAGE)
    assert (arrays.shape("images"), arrays.num_cells("all.labels"), arrays.cell_shape("all.labels", 3)) == (
        (6, 4, 3, 5),
        5,
        (5, 3),
    )
    for i in range(5):
        np.testing.assert_array_equal(arrays.image("images", i), images[..., i])
        np.testing.assert_array_equal(arrays.cell("all.labels", i), cells[i])
    with pytest.raises(InputError, match=r"a\.mat holds no depths; it is not the a\.mat that is obtained from https"):
        arrays.image("depths", 0)


def sum_of(arrays, index):
    return int(arrays.image("images", index).sum())


def test_matlab_arrays_can_be_pickled_and_serve_many_threads(tmp_path):
    images, _ = write_stack(tmp_path / "a.mat")
    arrays = MatlabArrays(tmp_path / "a.mat", PAGE)
    sums = images.sum((0, 1, 2), dtype=np.int64).tolist()
    assert len(pickle.dumps(arrays)) < 1000
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(sum_of, [arrays] * 200, [i % 5 for i in range(200)])) == sums * 40
    copy = pickle.loads(pickle.dumps(arrays))
    assert [sum_of(copy, i) for i in range(5)] == sums


def test_matlab_arrays_never_hold_more_than_what_is_asked_for(tmp_path):
    with Hdf5Writer(tmp_path / "a.mat") as file:
        file.array("images", np.zeros((100, 100, 3, 300), np.uint8))
    tracemalloc.start()
    arrays = MatlabArrays(tmp_path / "a.mat", PAGE)
    for i in range(0, 300, 50):
        arrays.image("images", i)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400_000  # one is 30,000 bytes, all are nine millions


def test_matlab_file_that_is_missing_damaged_or_of_the_wrong_version(tmp_path):
    old, new = write_both(tmp_path)
    with pytest.raises(InputError, match=r"none\.mat does not exist; it is obtained from https://example\.org/data$"):
        read_texts(tmp_path / "none.mat", PAGE, "list")
    with pytest.raises(InputError, match=r"old\.mat is not of MATLAB's version 7\.3, .* download it again from https"):
        MatlabArrays(old, PAGE)
    (tmp_path / "text.mat").write_text("not found")
    (tmp_path / "cut.mat").write_bytes(new.read_bytes()[:600])
    for name in ("text.mat", "cut.mat"):
        with pytest.raises(InputError, match=rf"{name} is damaged or no MATLAB file; copy it again, or download it"):
            read_numbers(tmp_path / name, PAGE, "ids")


def test_matlab_file_of_version_73_without_h5py(tmp_path, monkeypatch):
    old, new = write_both(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"new\.mat is of .* 7\.3, .* pip install -r requirements-data\.txt$"):
        read_numbers(new, PAGE, "ids")
    assert read_numbers(old, PAGE, "ids").tolist() == [3, 1, 2]
