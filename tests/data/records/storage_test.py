"""Tests for segnet_jax/data/records/storage.py."""

import hashlib
import importlib.util

import pytest
from etils import epath

from segnet_jax.data.records import storage
from segnet_jax.errors import InputError
from tests.helpers.buckets import gs_in_memory

URL = epath.Path("gs://bucket/folder")


def test_is_remote():
    assert storage.is_remote(URL)
    assert storage.is_remote(epath.Path("s3://bucket"))
    assert not storage.is_remote(epath.Path("/data/folder"))
    assert not storage.is_remote(epath.Path("relative"))


@pytest.mark.parametrize("remote", [False, True])
def test_read_text_write_text_and_size_of(tmp_path, remote):
    with gs_in_memory():
        folder = URL if remote else epath.Path(tmp_path)
        path = folder / "a.json"
        assert storage.read_text(path) is None
        assert storage.size_of(path) is None
        for text in ("first", "größer"):
            storage.write_text(path, text)
            assert storage.read_text(path) == text
        assert storage.size_of(path) == 8
        assert storage.sha256_of(path) == hashlib.sha256("größer".encode()).hexdigest()
    assert [file.name for file in tmp_path.iterdir()] == ([] if remote else ["a.json"])


@pytest.mark.parametrize("remote", [False, True])
def test_written_aside_shows_nothing_but_whole_files(tmp_path, remote):
    with gs_in_memory() as (store, _):
        path = URL / "b" if remote else epath.Path(tmp_path / "b")
        with pytest.raises(KeyError), storage.written_aside(path) as local:
            local.write_bytes(b"ab")
            assert not path.exists()
            raise KeyError
        assert storage.names_in(path.parent) == set()
        with storage.written_aside(path) as local:
            local.write_bytes(b"abc")
        assert storage.names_in(path.parent) == {"b"}
        assert path.read_bytes() == b"abc"
        assert not local.exists()


def test_written_aside_removes_what_an_interrupted_upload_left(tmp_path, monkeypatch):
    def interrupted(source, target, *rest):
        target.write(source.read(1))
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfileobj", interrupted)
    with gs_in_memory() as (store, opened):
        with pytest.raises(KeyboardInterrupt), storage.written_aside(URL / "b") as local:
            local.write_bytes(b"abc")
        assert opened == [("/bucket/folder/b", "wb")]
        assert not store


def test_download(tmp_path):
    data = bytes(range(256)) * 40_000
    with gs_in_memory():
        (URL / "b").write_bytes(data)
        storage.download(URL / "b", tmp_path / "c", hashlib.sha256(data).hexdigest())
        assert (tmp_path / "c").read_bytes() == data
        with pytest.raises(InputError, match=r"^gs://bucket/folder/b is damaged, as its checksum is not that"):
            storage.download(URL / "b", tmp_path / "d", "0" * 64)
        with pytest.raises(InputError, match=r"^gs://bucket/folder/x cannot be read \(.*\); correct the path"):
            storage.download(URL / "x", tmp_path / "d", "0" * 64)
        with pytest.raises(InputError, match=r"d cannot be written \(No such file or directory\); make .*XDG_CACHE"):
            storage.download(URL / "b", tmp_path / "nowhere" / "d", "0" * 64)
    # Nothing but whole files is left.
    assert [file.name for file in tmp_path.iterdir()] == ["c"]


def test_errors_of_a_store_become_a_sentence(monkeypatch):
    with gs_in_memory():
        monkeypatch.setattr(
            "tests.helpers.buckets.Bucket._open", lambda *a, **k: (_ for _ in ()).throw(OSError("403\nno way"))
        )
        with pytest.raises(InputError, match=r"^gs://bucket/folder/a cannot be read \(403 no way\); correct the path"):
            storage.read_text(URL / "a")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_errors_name_the_missing_package_of_a_store():
    with pytest.raises(InputError, match=r"^gs://bucket/folder/a cannot be read without the package .*gcsfs for gs://"):
        storage.read_text(URL / "a")
