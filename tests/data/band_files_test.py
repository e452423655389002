"""Tests for segnet_jax/data/band_files.py."""

import sys

import numpy as np
import pytest
import tifffile

from segnet_jax.data.band_files import Layout, read_bands, read_layout
from segnet_jax.errors import InputError
from tests.helpers.tiff import save_bands

DTYPES = ["uint8", "uint16", "int16", "float32"]


def draw(dtype, shape=(5, 7, 6)):
    """Draws values over the whole range of a type."""
    rng = np.random.default_rng(0)
    if dtype == "float32":
        return rng.standard_normal(shape, np.float32) * np.float32(1e4)
    return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("planes", [False, True])
def test_read_bands_is_exact(tmp_path, dtype, planes):
    path, bands = tmp_path / "a.tif", draw(dtype)
    save_bands(path, bands, planes=planes)
    found = read_bands(path)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found.astype(np.float64), bands.astype(np.float64))
    assert read_layout(path) == Layout(5, 7, 6, dtype)


@pytest.mark.parametrize(
    "options", [{"compression": "lzw"}, {"compression": "deflate", "predictor": True}, {"tile": (16, 16)}]
)
def test_read_bands_of_files_as_geographic_programs_write_them(tmp_path, options):
    bands = draw("uint16", (40, 35, 4))
    save_bands(tmp_path / "a.tif", bands, bigtiff=True, **options)
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif"), bands)


def test_read_bands_of_one_band_and_of_pages(tmp_path):
    path, bands = tmp_path / "a.tif", draw("uint16", (8, 9, 5))
    tifffile.imwrite(path, bands[..., 0])
    np.testing.assert_array_equal(read_bands(path), bands[..., :1])
    # Without more said, both are written as pages.
    for array in (bands, bands.transpose(2, 0, 1)):
        tifffile.imwrite(path, array)
        np.testing.assert_array_equal(read_bands(path), bands)
        assert read_layout(path) == Layout(8, 9, 5, "uint16")


def test_read_bands_takes_opacity_for_a_band(tmp_path):
    bands = draw("uint8", (4, 6, 4))
    tifffile.imwrite(tmp_path / "a.tif", bands)  # RGBA, by default
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif"), bands)


@pytest.mark.parametrize(
    ("dtype", "nodata", "missing"),
    [
        ("int16", "-9999", -9999),
        ("uint8", "0", 0),
        ("float32", "-3.4028234663852886e+38", np.float32(-3.4028234663852886e38)),
        ("float32", "nan", np.nan),
        ("float64", "-1.7976931348623157e+308", -1.7976931348623157e308),
        ("float32", None, np.inf),
    ],
)
def test_read_bands_marks_what_is_missing(tmp_path, dtype, nodata, missing):
    bands = np.arange(1, 49).reshape(4, 6, 2).astype(dtype)
    bands[1, 2, 0] = bands[3, 5, 1] = missing
    save_bands(tmp_path / "a.tif", bands, nodata=nodata)
    expected = np.arange(1, 49).reshape(4, 6, 2).astype(np.float32)
    expected[1, 2, 0] = expected[3, 5, 1] = np.nan
    np.testing.assert_array_equal(read_bands(tmp_path / "a.tif"), expected)


def test_read_bands_turns_files_upright(tmp_path):
    bands, path = draw("uint16", (2, 3, 6)), tmp_path / "a.tif"
    expected = {
        1: bands,
        2: bands[:, ::-1],
        3: bands[::-1, ::-1],
        4: bands[::-1],
        5: bands.transpose(1, 0, 2),
        6: np.stack([bands[::-1, column] for column in range(3)]),  # the left column becomes the top row
        7: bands[::-1, ::-1].transpose(1, 0, 2),
        8: np.stack([bands[:, column] for column in (2, 1, 0)]),  # the right column does
    }
    for orientation, upright in expected.items():
        save_bands(path, bands, extratags=[(274, 3, 1, orientation, True)])
        np.testing.assert_array_equal(read_bands(path), upright)
        assert read_layout(path)[:2] == upright.shape[:2]


def test_read_bands_refuses_other_files(tmp_path, monkeypatch):
    path = tmp_path / "a.tif"
    save_bands(path, np.ones((4, 6, 2), np.complex64))
    with pytest.raises(InputError, match=r"a\.tif holds values of the type complex64; save its bands as integers or"):
        read_bands(path)
    tifffile.imwrite(path, np.zeros((3, 2, 8, 9), np.uint16), photometric="minisblack")
    with pytest.raises(InputError, match=r"a\.tif holds an array of the shape \(3, 2, 8, 9\) .* as \[height, width, "):
        read_layout(path)
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.tif is not a TIFF file that can be read"):
        read_bands(path)
    save_bands(path, draw("uint16"), compression="lzw")
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"a\.tif is (damaged|not a TIFF file)"):
        read_bands(path)
    with pytest.raises(InputError, match=r"b\.tif does not exist"):
        read_bands(tmp_path / "b.tif")
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(InputError, match=r"a\.tif needs tifffile .*; pip install -r requirements-data\.txt"):
        read_bands(path)
