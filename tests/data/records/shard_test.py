"""Tests for segnet_jax/data/records/shard.py."""

import hashlib
import os
import resource
import struct

import numpy as np
import pytest
from array_record.python.array_record_module import ArrayRecordReader
from etils import epath

from segnet_jax.data.records.index import Shard
from segnet_jax.data.records.shard import decode, describe_shard, encode, write_shard
from segnet_jax.errors import InputError


def example(height, width, channels=3, seed=0, name="a"):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, channels)).astype(np.uint8)
    return {"image": image, "label": rng.integers(0, 256, (height, width)).astype(np.uint8), "name": name}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert found["name"] == expected["name"]
    for key in ("image", "label"):
        assert found[key].dtype == np.uint8
        np.testing.assert_array_equal(found[key], expected[key])


@pytest.mark.parametrize(
    ("size", "name"), [((1, 1, 3), ""), ((5, 7, 4), "Straße 1"), ((5, 7, 3), os.fsdecode(b"\xff"))]
)
def test_encode_is_inverted_by_decode(size, name):
    given = example(*size, name=name)
    assert_same(decode(encode(given)), given)
    # The layout in memory does not count.
    turned = {**given, "image": np.asfortranarray(given["image"]), "label": given["label"][::-1].copy()[::-1]}
    assert encode(turned) == encode(given)


def test_encode_by_hand():
    given = {"image": np.arange(12, dtype=np.uint8).reshape(2, 2, 3), "label": np.eye(2, dtype=np.uint8), "name": "xy"}
    expected = b"SNR1" + struct.pack("<II", 2, 2) + struct.pack("<HH", 3, 2) + b"xy" + bytes(range(12))
    assert encode(given) == expected + bytes([1, 0, 0, 1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: b"", "it has not the header of one"),
        (lambda record: record[:15], "it has not the header of one"),
        (lambda record: b"PNG1" + record[4:], "it has not the header of one"),
        (lambda record: record[:-1], "it has 156 bytes, and its header says 157"),
        (lambda record: record + b"a", "it has 158 bytes, and its header says 157"),
        (
            lambda record: record[:4] + struct.pack("<II", 60000, 60000) + record[12:],
            f"it has 157 bytes, and its header says {17 + 4 * 60000**2}",
        ),
    ],
)
def test_decode_refuses_what_is_no_record(change, message):
    record = encode(example(5, 7))
    with pytest.raises(ValueError, match=f"^{message}$"):
        decode(change(record))


class Given:
    """A data set of given examples."""

    def __init__(self, *examples):
        self.examples = examples

    def shape(self, index):
        return self.examples[index]["label"].shape

    def __getitem__(self, index):
        return self.examples[index]


def test_write_shard_keeps_the_examples_in_order(tmp_path):
    sizes = [(4, 6), (4, 6), (5, 6), (4, 6)]
    dataset = Given(*(example(*size, seed=seed, name=str(seed)) for seed, size in enumerate(sizes)))
    path = epath.Path(tmp_path / "shard")
    shard = write_shard(dataset, range(1, 4), path, "zstd")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    assert shard == Shard("shard", 3, len(data), digest, ((1, 4, 6), (1, 5, 6), (1, 4, 6)))
    assert describe_shard(dataset, range(1, 4), path) == shard
    reader = ArrayRecordReader(str(path))
    assert reader.num_records() == 3
    assert "group_size:1," in reader.writer_options_string()
    for index in range(3):
        assert_same(decode(reader.read([index])[0]), dataset[index + 1])
    # The same examples make the same file.
    assert write_shard(dataset, range(1, 4), path, "zstd").sha256 == shard.sha256


def test_write_shard_compresses(tmp_path):
    flat = {**example(90, 120), "label": np.zeros((90, 120), np.uint8)}
    dataset = Given(*[flat] * 40)
    folder = epath.Path(tmp_path)
    plain, packed = (write_shard(dataset, range(40), folder / name, name).bytes for name in ("none", "zstd"))
    # Noise cannot be compressed, and nothing but labels can.
    assert plain > 40 * 90 * 120 * 4
    assert packed < 0.8 * plain


def test_write_shard_names_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match=r"nowhere/shard cannot be written \(.*No such file.*\); make room"):
        write_shard(Given(example(4, 6)), range(1), epath.Path(tmp_path / "nowhere" / "shard"), "zstd")
    # A limit of the size of files stands for a full disk.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        with pytest.raises(InputError, match=r"shard cannot be written \(.*File too large.*\); make room there"):
            write_shard(Given(*[example(100, 100)] * 20), range(20), epath.Path(tmp_path / "shard"), "none")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
