"""Tests for segnet_jax/data/modality_files.py."""

import numpy as np
import pytest
import tifffile

from segnet_jax.data.modality_files import files_like, join, read_modalities
from segnet_jax.errors import InputError
from tests.helpers.folder_files import SIZE, save
from tests.helpers.tiff import save_bands

RAMP = np.arange(24).reshape(SIZE)


def test_files_like_reads_tiff_exactly_where_it_is_more_than_a_picture(tmp_path):
    wide, picture, gray = tmp_path / "wide.tif", tmp_path / "picture.tif", tmp_path / "gray.tif"
    save_bands(wide, np.dstack([RAMP * 1000, RAMP]).astype(np.uint16))
    save(picture, np.dstack([RAMP, RAMP + 1, RAMP + 2]).astype(np.uint8))
    save_bands(gray, RAMP[..., None].astype(np.uint8), nodata="5")
    for name in ("bands", "thermal"):
        files = files_like(name, wide)
        assert (files.channels, files.is_float) == (2, True)
        np.testing.assert_array_equal(files.read(wide)[..., 0], RAMP * 1000)
    normals = files_like("normals", picture)
    assert (normals.channels, normals.is_float, normals.read(picture).dtype) == (3, False, np.uint8)
    assert files_like("rgb", picture).read(picture).dtype == np.uint8
    # Of bands, even what a picture would be has its own meaning of missing values.
    assert files_like("bands", picture).read(picture).dtype == np.float32
    assert np.isnan(files_like("bands", gray).read(gray)).sum() == 1
    assert not files_like("thermal", gray).is_float


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_files_like_depth_with_a_value_that_means_missing(tmp_path, dtype):
    path = tmp_path / "a.png"
    save(path, RAMP.astype(dtype))
    files = files_like("depth", path, depth_max=10, depth_missing=0)
    assert files.is_float
    found = files.read(path)
    expected = RAMP.astype(np.float64) if dtype == "uint8" else 255 * np.minimum(RAMP, 10) / 10
    expected[0, 0] = np.nan
    assert (found.dtype, found.shape) == (np.float32, (*SIZE, 1))
    np.testing.assert_allclose(found[..., 0], expected, rtol=1e-7)
    # Without it, 0 is a depth like any other.
    assert files_like("depth", path).read(path).dtype == np.uint8


def test_files_like_depth_in_tiff_keeps_its_unit(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, (RAMP / 8).astype(np.float32))
    found = files_like("depth", path, depth_missing=0).read(path)[..., 0]
    assert np.isnan(found[0, 0])
    np.testing.assert_array_equal(found.ravel()[1:], RAMP.ravel()[1:] / 8)
    save_bands(path, np.zeros((*SIZE, 2), np.float32))
    with pytest.raises(InputError, match=r"a\.tif has 2 bands, and a map of depth has one"):
        files_like("depth", path)


def test_modality_files_refuse_other_bands_than_those_of_the_first(tmp_path):
    first, other = tmp_path / "a.tif", tmp_path / "b.tif"
    save_bands(first, np.zeros((*SIZE, 6), np.uint16))
    save_bands(other, np.zeros((*SIZE, 5), np.uint16))
    files = files_like("bands", first)
    for read in (files.shape, files.read):
        with pytest.raises(InputError, match=r"b\.tif has 5 bands of uint16, and .*a\.tif has 6 of uint16; bring all"):
            read(other)
    save_bands(other, np.zeros((*SIZE, 6), np.float32))
    with pytest.raises(InputError, match=r"b\.tif has 6 bands of float32, and"):
        files.shape(other)


def test_join_gives_normals_of_8_bits_a_sign_beside_numbers():
    eight, wide = np.full((2, 2, 3), 255, np.uint8), np.full((2, 2, 1), 7, np.float32)
    assert join([eight, eight], ("rgb", "normals")).dtype == np.uint8
    image = join([eight, wide, eight], ("rgb", "depth", "normals"))
    assert image.dtype == np.float32
    assert image[0, 0].tolist() == [255, 255, 255, 7, 127.5, 127.5, 127.5]


def test_read_modalities_takes_all_of_them_from_one_file(tmp_path):
    path, channels = tmp_path / "a.tif", np.dstack([RAMP] * 4).astype(np.float32)
    save_bands(path, channels)
    np.testing.assert_array_equal(read_modalities(("rgb", "depth"), path), channels)
    save(tmp_path / "a.png", RAMP.astype(np.uint8))
    assert np.isnan(read_modalities(("depth",), tmp_path / "a.png", depth_missing=3)).sum() == 1
