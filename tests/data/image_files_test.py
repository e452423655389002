"""Tests for segnet_jax/data/image_files.py."""

import logging
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from segnet_jax.data import image_files
from segnet_jax.errors import InputError

RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10
GRAY = np.array([[0, 7, 255], [1, 2, 3]], np.uint8)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def palette_png(path, indices, colors, **options):
    image = Image.fromarray(indices).convert("L")
    image = Image.frombytes("P", image.size, image.tobytes())
    image.putpalette([value for color in colors for value in color])
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp"])
def test_read_image_of_many_formats(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", RGB, **({"lossless": True} if suffix == ".webp" else {}))
    image = image_files.read_image(path)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize("maximum", [4095, 65535])
def test_read_image_scales_16_bits_by_the_maximum(tmp_path, maximum):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    image = image_files.read_image(save(tmp_path / "a.png", values), maximum)
    assert (image.dtype, image.shape) == (np.uint8, (256, 256, 3))
    assert np.abs(image[..., 0] - np.minimum(values / maximum, 1.0) * 255).max() <= 0.5
    assert (image == image[..., :1]).all()


def test_read_image_says_once_for_a_folder_that_12_bits_come_out_black(tmp_path, caplog):
    for name, greatest in (("a", 4095), ("b", 4095), ("bright", 4096), ("black", 0)):
        save(tmp_path / f"{name}.png", np.full((2, 3), greatest, np.uint16))
    with caplog.at_level(logging.WARNING, "segnet_jax"):
        for name in ("bright", "black"):
            image_files.read_image(tmp_path / f"{name}.png")
        image_files.read_image(tmp_path / "a.png", 4095)
        assert not caplog.records
        for name in ("a", "b"):
            assert image_files.read_image(tmp_path / f"{name}.png").max() == 16
    (record,) = caplog.records
    assert f"{tmp_path} holds images of 16 bits" in record.getMessage()
    assert "set data.image_max to the greatest value of the images, such as 4095" in record.getMessage()


def test_read_image_of_many_modes(tmp_path):
    opaque, white = np.full((2, 3), 9, np.uint8), np.full((2, 3, 3), 255, np.uint8)
    gray = np.stack([GRAY] * 3, axis=-1)
    for name, array, mode, expected in (
        ("gray.png", GRAY, None, gray),
        ("gray_alpha.png", np.dstack([GRAY, opaque]), None, gray),
        ("rgba.png", np.dstack([RGB, opaque]), None, RGB),
        ("cmyk.tif", white, "CMYK", white),
        ("bits.png", np.array([[True, False]]), None, [[[255] * 3, [0] * 3]]),
    ):
        np.testing.assert_array_equal(image_files.read_image(save(tmp_path / name, array, mode)), expected)


@pytest.mark.parametrize("options", [{}, {"transparency": b"\x00\x80\xff"}])
def test_read_image_applies_a_palette(tmp_path, options):
    colors = [(1, 2, 3), (40, 50, 60), (255, 0, 9)]
    path = palette_png(tmp_path / "a.png", np.array([[0, 1], [2, 1]], np.uint8), colors, **options)
    assert image_files.read_image(path).tolist() == [[[1, 2, 3], [40, 50, 60]], [[255, 0, 9], [40, 50, 60]]]


def test_read_depth_takes_8_bits_as_they_are(tmp_path):
    depth = image_files.read_depth(save(tmp_path / "a.png", GRAY), depth_max=100)
    assert depth.dtype == np.uint8
    np.testing.assert_array_equal(depth, GRAY)


@pytest.mark.parametrize("maximum", [1, 10000, 65535])
def test_read_depth_scales_16_bits_and_clips_at_the_maximum(tmp_path, maximum):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    found = image_files.read_depth(save(tmp_path / "a.png", values), maximum)
    assert found.dtype == np.uint8
    exact = np.minimum(values / maximum, 1.0) * 255
    assert np.abs(found - exact).max() <= 0.5


def test_read_depth_refuses_other_images(tmp_path):
    pixels = np.array([[0, 1], [1, 0]], np.uint8)
    paths = {
        "RGB": save(tmp_path / "color.png", RGB),
        "LA": save(tmp_path / "alpha.png", GRAY, "LA"),
        "P": palette_png(tmp_path / "palette.png", pixels, [(0, 0, 0), (1, 2, 3)]),
        "1": save(tmp_path / "bits.png", pixels.astype(bool)),
        "L": save(tmp_path / "named.png", GRAY, format="JPEG"),
    }
    for mode, path in paths.items():
        with pytest.raises(
            InputError, match=rf"{path.name} is a (PNG|JPEG) file of the mode {mode} and no depth map; "
        ):
            image_files.read_depth(path)


# The rows and columns of [[1, 2, 3], [4, 5, 6]] once each orientation is put right, by the EXIF standard.
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
}


def oriented(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_read_image_turns_upright_as_the_exif_data_say(tmp_path, suffix):
    stored = np.array(UPRIGHT[1], np.uint8)
    options = {"lossless": True} if suffix == "webp" else {}
    for value, upright in UPRIGHT.items():
        path = save(tmp_path / f"{value}.{suffix}", np.dstack([stored] * 3), exif=oriented(value), **options)
        assert image_files.read_image(path)[..., 0].tolist() == upright
        assert image_files.image_shape(path) == np.shape(upright)
        assert image_files.read_mask(path)[..., 0].tolist() == upright
    wide = save(tmp_path / "wide.png", stored.astype(np.uint16) * 257, exif=oriented(8))
    assert image_files.read_depth(wide).tolist() == UPRIGHT[8]


def test_read_image_takes_damaged_exif_data_for_none(tmp_path):
    path = save(tmp_path / "a.png", RGB, exif=b"Exif\0\0MM\0*\0\0")
    np.testing.assert_array_equal(image_files.read_image(path), RGB)
    assert image_files.image_shape(path) == (2, 3)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_common_shape_refuses_a_mask_of_the_image_as_it_is_stored(tmp_path, suffix):
    image = save(tmp_path / f"a.{suffix}", RGB, exif=oriented(6))
    assert image_files.common_shape([image, save(tmp_path / "upright.png", GRAY.T)]) == (3, 2)
    message = (
        rf"stored\.png is 2x3 pixels \(height x width\) but its image .*a\.{suffix} is 3x2 once it is turned as its "
        "EXIF data say, from 2x3; turn the former too"
    )
    with pytest.raises(InputError, match=message):
        image_files.common_shape([image, save(tmp_path / "stored.png", GRAY)])
    with pytest.raises(InputError, match=r"stored\.png is 2x3 .* is 3x2; bring both to one size"):
        image_files.common_shape([save(tmp_path / "b.png", GRAY.T), tmp_path / "stored.png"])


def test_read_mask_of_many_modes(tmp_path):
    opaque, indices = np.full((2, 3), 255, np.uint8), np.array([[0, 2], [1, 2]], np.uint8)
    palette_png(tmp_path / "palette.png", indices, [(9, 9, 9), (8, 8, 8), (7, 7, 7)])
    save(tmp_path / "bits.png", np.array([[True, False]]))
    save(tmp_path / "gray.png", GRAY)
    wide = np.array([[0, 300], [65535, 1]], np.uint16)
    save(tmp_path / "wide.png", wide)
    save(tmp_path / "rgb.png", RGB)
    save(tmp_path / "rgba.png", np.dstack([RGB, opaque]))
    save(tmp_path / "gray_alpha.png", np.dstack([GRAY, opaque]))
    # The indices of a palette, not its colours.
    expected = {
        "gray": GRAY,
        "wide": wide,
        "palette": indices,
        "bits": [[1, 0]],
        "rgb": RGB,
        "rgba": RGB,
        "gray_alpha": GRAY,
    }
    for name, values in expected.items():
        mask = image_files.read_mask(tmp_path / f"{name}.png")
        assert mask.dtype == (np.uint16 if name == "wide" else np.uint8)
        np.testing.assert_array_equal(mask, values)


def test_read_mask_and_read_image_refuse_other_modes(tmp_path):
    rgba = np.dstack([RGB, np.full((2, 3), 255, np.uint8)])
    rgba[1, 2, 3] = 254
    with pytest.raises(InputError, match=r"a\.png has transparent pixels"):
        image_files.read_mask(save(tmp_path / "a.png", rgba))
    with pytest.raises(InputError, match=r"b\.jpg is a JPEG file"):
        image_files.read_mask(save(tmp_path / "b.jpg", RGB))
    with pytest.raises(InputError, match=r"c\.tif has the mode CMYK"):
        image_files.read_mask(save(tmp_path / "c.tif", RGB, "CMYK"))
    with pytest.raises(InputError, match=r"d\.tif holds values of 32 bits"):
        image_files.read_mask(save(tmp_path / "d.tif", np.array([[-1, 70000]], np.int32)))
    with pytest.raises(InputError, match=r"e\.tif holds floating-point values"):
        image_files.read_image(save(tmp_path / "e.tif", np.zeros((2, 3), np.float32)))


def test_image_shape_needs_only_the_header(tmp_path):
    path = save(tmp_path / "a.png", np.zeros((20, 30, 3), np.uint8))
    path.write_bytes(path.read_bytes()[:60])
    assert image_files.image_shape(path) == (20, 30)


@pytest.mark.parametrize("read", [image_files.read_image, image_files.image_shape])
def test_read_image_refuses_other_files(tmp_path, read):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(InputError, match=r"missing\.png does not exist; "):
        read(tmp_path / "missing.png")
    with pytest.raises(InputError, match=r"empty\.png is empty \(0 bytes\); "):
        read(tmp_path / "empty.png")
    with pytest.raises(InputError, match=r"text\.png is not an image that can be read; "):
        read(tmp_path / "text.png")
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path, tmp_path / "pipe.png"):
        with pytest.raises(InputError, match=f"{path} is a folder, a pipe or a device and no file; "):
            read(path)


def test_read_image_hands_no_file_to_another_program(tmp_path, monkeypatch):
    """Pillow takes a file for what its bytes say, and asks Ghostscript to draw PostScript."""
    started = []
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", "gs")
    monkeypatch.setattr(subprocess, "check_call", lambda command, **_: started.append(command))
    path = tmp_path / "a1.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n%%EOF\n")
    for read in (image_files.read_image, image_files.read_mask, image_files.read_depth, image_files.image_shape):
        with pytest.raises(InputError, match=r"a1\.png is not an image that can be read; give a PNG, JPEG, TIFF, BMP"):
            read(path)
    assert started == []


def test_read_mask_refuses_formats_other_than_those_it_names(tmp_path):
    for format_ in ("GIF", "PPM", "TGA", "ICNS"):
        path = tmp_path / f"{format_}.png"
        Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(path, format=format_)
        with pytest.raises(InputError, match=rf"{format_}\.png is not an image that can be read; give a PNG, JPEG"):
            image_files.read_mask(path)


def test_read_image_refuses_damaged_files(tmp_path):
    path = save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8))
    data = path.read_bytes()
    half = len(data) // 2
    for damaged in (data[:half], data[:half] + bytes([data[half] ^ 255]) + data[half + 1 :]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"a\.png is damaged or cannot be read \(.+\); copy or export it again\.$"):
            image_files.read_image(path)


def png_header_of(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_read_image_refuses_an_image_too_large_to_be_true(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header_of(100_000, 100_000))
    with pytest.raises(InputError, match=r"a\.png claims to have more than \d+ pixels; cut it"):
        image_files.image_shape(path)


def test_read_image_does_not_warn_of_large_images(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(png_header_of(10_000, 10_000))
    # In a process of its own, since pytest replaces the filters of warnings.
    program = f"from segnet_jax.data import image_files; print(image_files.image_shape({str(path)!r}))"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONWARNINGS"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert result.stdout == "(10000, 10000)\n"
    assert "DecompressionBomb" not in result.stderr


def test_read_list_numbers_the_lines(tmp_path):
    path = tmp_path / "train.txt"
    path.write_bytes(b"\xef\xbb\xbfa.png  \r\n\r\n  \n\tb c.png")
    assert image_files.read_list(path) == [(1, "a.png"), (4, "b c.png")]


def test_read_list_refuses_what_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"a\.txt cannot be read as a list"):
        image_files.read_list(tmp_path / "a.txt")


def test_fingerprint_changes_with_name_size_and_time(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    for path in (first, second):
        path.write_bytes(b"123")
        os.utime(path, ns=(10**18, 10**18))
    digest = image_files.fingerprint([first, second])
    assert image_files.fingerprint([first, second]) == digest
    assert image_files.fingerprint([second, first]) != digest
    assert image_files.fingerprint([first]) != digest
    os.utime(second, ns=(10**18, 10**18 + 1000))
    assert image_files.fingerprint([first, second]) != digest
    second.write_bytes(b"1234")
    os.utime(second, ns=(10**18, 10**18))
    assert image_files.fingerprint([first, second]) != digest
    second.unlink()
    with pytest.raises(InputError, match=f"{second} is missing .No such file"):
        image_files.fingerprint([first, second])
