"""Tests for segnet_jax/data/records/storage.py; reader_test and writer_test use the rest of it in a bucket."""

import importlib.util
import os

import pytest
from etils import epath

from segnet_jax.data.records import storage
from segnet_jax.errors import InputError
from tests.helpers.buckets import gs_in_memory

URL = epath.Path("gs://bucket/folder")


def test_folder_at_refuses_names_that_are_not_utf8():
    assert storage.folder_at("gs://bucket/folder") == URL
    with pytest.raises(InputError, match="caf.* is a name outside of UTF-8; rename it, or choose another folder"):
        storage.folder_at(os.fsdecode(b"caf\xe9"))


@pytest.mark.parametrize("remote", [False, True])
def test_written_aside_shows_nothing_but_whole_files(tmp_path, remote):
    with gs_in_memory():
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


def test_written_aside_removes_what_an_interrupted_upload_left(monkeypatch):
    def interrupted(source, target, overwrite):
        target.write_bytes(source.read_bytes()[:1])
        raise KeyboardInterrupt

    with gs_in_memory() as (store, opened):
        with pytest.raises(KeyboardInterrupt), storage.written_aside(URL / "b") as local:
            local.write_bytes(b"abc")
            monkeypatch.setattr(type(URL), "copy", interrupted)
        assert opened == [("/bucket/folder/b", "wb")]
        assert not store


def test_errors_of_a_store_become_a_sentence(monkeypatch):
    def refuse(*args, **options):
        raise OSError("403\nno way")

    monkeypatch.setattr("tests.helpers.buckets.Bucket._open", refuse)
    message = r"^gs://bucket/folder/a cannot be read \(403 no way\); correct the path"
    with gs_in_memory(), pytest.raises(InputError, match=message):
        storage.read_text(URL / "a")


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="gcsfs is installed")
def test_errors_name_the_missing_package_of_a_store():
    with pytest.raises(InputError, match=r"^gs://bucket/folder/a cannot be read \(Please install gcsfs to access"):
        storage.read_text(URL / "a")
