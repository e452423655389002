"""Tests for segnet_jax/training/batch_size.py."""

import pytest

from segnet_jax.errors import InputError
from segnet_jax.training.batch_size import check_batch_fits, check_batch_size


@pytest.mark.parametrize(
    ("batch_size", "parts", "devices", "fitting"),
    [(12, 1, 8, "8 or 16"), (4, 1, 8, "take 8,"), (12, 2, 4, "8 or 16"), (7, 7, 1, None), (16, 2, 8, None)],
)
def test_check_batch_size_refuses_a_batch_that_does_not_divide_by_devices_and_microbatches(
    batch_size, parts, devices, fitting
):
    if fitting is None:
        check_batch_size(batch_size, devices, parts)
    else:
        with pytest.raises(InputError, match=fitting):
            check_batch_size(batch_size, devices, parts)


@pytest.mark.parametrize(
    ("batch_size", "num_examples", "outcome"),
    [
        (16, 16, None),
        (
            17,
            16,
            "train.batch_size=17 is larger than the training split: each batch has some of its 16 images repeatedly.",
        ),
        (
            256,
            2,
            "train.batch_size=256 is larger than the training split: each batch has some of its 2 images repeatedly.",
        ),
        (257, 2, InputError("train.batch_size=257 is far beyond the 2 training images; take 256 at most.")),
        (
            100_000,
            1000,
            InputError("train.batch_size=100000 is far beyond the 1000 training images; take 10000 at most."),
        ),
    ],
)
def test_check_batch_fits_warns_of_a_batch_beyond_the_split_and_refuses_a_huge_one(
    batch_size, num_examples, outcome, caplog
):
    if isinstance(outcome, InputError):
        with pytest.raises(InputError) as caught:
            check_batch_fits(batch_size, num_examples)
        assert str(caught.value) == str(outcome)
    else:
        check_batch_fits(batch_size, num_examples)
        assert caplog.messages == ([outcome] if outcome else [])
