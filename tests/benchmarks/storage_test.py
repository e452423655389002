"""Tests for benchmarks/storage.py."""

import numpy as np
import pytest

from benchmarks.storage import Stored, multiplier, stored_by_encoder, table

_FLOAT, _INDEX = np.dtype(np.float32), np.dtype(np.uint8)


# Of Table 1 ("based only on the size of the first layer encoder feature map"): the paper counts SegNet's 64 maps of
# 2-bit indices as 1, where 64 * 2 / 32 is 4; a byte each is 16.
@pytest.mark.parametrize(
    ("name", "bytes_each", "two_bits"),
    [
        ("bilinear_interpolation", 0, 0),
        ("segnet_basic", 16, 4),
        ("segnet_basic_encoder_addition", 64 + 16, 64 + 4),
        ("segnet_basic_single_channel_decoder", 16, 4),
        ("fcn_basic", 11, 11),
        ("fcn_basic_no_addition", 0, 0),
        ("fcn_basic_no_dim_reduction", 64, 64),
        ("fcn_basic_no_addition_no_dim_reduction", 0, 0),
    ],
)
def test_multiplier_of_the_decoder_study(name, bytes_each, two_bits):
    stored = stored_by_encoder(name, (45, 60))
    assert (multiplier(stored), multiplier(stored, 2)) == (bytes_each, two_bits)


def test_stored_by_encoder_lists_arrays_from_the_finest():
    assert stored_by_encoder("segnet_basic_encoder_addition", (45, 60), width_multiplier=1 / 16) == [
        Stored((1, 23, 30, 4), _FLOAT),
        Stored((1, 23, 30, 4), _INDEX),
        Stored((1, 12, 15, 4), _FLOAT),
        Stored((1, 12, 15, 4), _INDEX),
        Stored((1, 6, 8, 4), _FLOAT),
        Stored((1, 6, 8, 4), _INDEX),
        # The deepest map is the decoder's input, and is not stored.
        Stored((1, 3, 4, 4), _INDEX),
    ]


def test_table_by_hand():
    stored = [Stored((1, 100, 50, 8), _INDEX), Stored((1, 50, 25, 8), _FLOAT)]
    # 40,000 indices and 10,000 values.
    assert table([("segnet", stored)]).splitlines()[2:] == ["| `segnet` | 2 | 0.5 | - | 0.08 | 0.05 |"]
