"""Tests for segnet_jax/data/records/storage.py."""

import hashlib
import importlib.util

import pytest
from etils import epath

from segnet_jax.data.records import storage
from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked
from tests.helpers.buckets import gs_in_memory

URL = epath.Path("gs://bucket/folder")


def test_what_is_remote():
    assert storage.is_remote(URL)
    assert storage.is_remote(epath.Path("s3://bucket"))
    assert not storage.is_remote(epath.Path("/data/folder"))
    assert not storage.is_remote(epath.Path("relative"))


@pytest.mark.parametrize("remote", [False, True])
def test_texts_and_sizes(tmp_path, remote):
    with gs_in_memory():
        folder = URL if remote else epath.Path(tmp_path)
        path = folder / "a.json"
        assert storage.read_text(path) is None
        assert storage.size_of(path) is None
        assert storage.read_text(path / "below") is None
        for text in ("first", "größer"):
            storage.write_text(path, text)
            assert storage.read_text(path) == text
        assert storage.size_of(path) == 8
        assert storage.sha256_of(path) == hashlib.sha256("größer".encode()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ([] if remote else ["a.json"])


def test_up_and_down(tmp_path):
    data = bytes(range(256)) * 40_000
    (tmp_path / "a").write_bytes(data)
    with gs_in_memory() as (store, _):
        storage.upload(tmp_path / "a", URL / "b")
        assert store["/bucket/folder/b"].getvalue() == data
        assert not (tmp_path / "a").exists()
        storage.download(URL / "b", tmp_path / "c", hashlib.sha256(data).hexdigest())
        assert (tmp_path / "c").read_bytes() == data
        with pytest.raises(InputError, match=r"^gs://bucket/folder/b is damaged, as its checksum is not that"):
            storage.download(URL / "b", tmp_path / "d", "0" * 64)
        with pytest.raises(InputError, match=r"^gs://bucket/folder/x cannot be read, as it does not exist"):
            storage.download(URL / "x", tmp_path / "d", "0" * 64)
        with pytest.raises(InputError, match=r"b cannot be copied to .*nowhere \(No such file or directory\); make"):
            storage.download(URL / "b", tmp_path / "nowhere" / "d", "0" * 64)
    # Nothing but what is whole is left.
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_errors_of_a_store_are_told_in_a_sentence(monkeypatch):
    with gs_in_memory():
        monkeypatch.setattr(
            "tests.helpers.buckets.Bucket._open", lambda *a, **k: (_ for _ in ()).throw(OSError("403\nno way"))
        )
        with pytest.raises(InputError, match=r"^gs://bucket/folder/a cannot be read \(403 no way\); correct the path"):
            storage.read_text(URL / "a")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_the_package_for_a_store_is_named():
    with pytest.raises(InputError, match=r"^gs://bucket/folder/a cannot be read without the package .*gcsfs for gs://"):
        storage.read_text(URL / "a")


def test_a_lock_is_held_once(tmp_path):
    path = tmp_path / "lock"
    for _ in range(2):
        # A lock belongs to an open file, so that one process can stand for two.
        with (
            locked(path),
            pytest.raises(InputError, match="^somebody has it$"),
            locked(path, "somebody has it"),
        ):
            pass
    with locked(path, "somebody has it"):
        pass
