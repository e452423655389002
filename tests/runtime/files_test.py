"""Tests for segnet_jax/runtime/files.py."""

import os
import subprocess
import sys

import pytest

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import locked, require_utf8, user_cache_dir, write_atomically, write_errors

_HOLDER = """
import sys
from pathlib import Path
from segnet_jax.runtime.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_locked_is_held_by_one_process_until_it_ends(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path / ".lock")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="taken"), locked(tmp_path / ".lock", "taken"):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path / ".lock", "taken"):
            pass
    with locked(tmp_path / ".lock", "taken"):
        pass


def test_user_cache_dir_follows_xdg_cache_home_and_home(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_dir() == tmp_path / "segnet_jax"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache_dir() == tmp_path / "home" / ".cache" / "segnet_jax"


def test_write_atomically_keeps_the_former_content_if_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "report.json"
    write_atomically(path, "first")
    monkeypatch.setattr("os.fsync", lambda number: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "second")
    assert path.read_text() == "first"
    monkeypatch.undo()
    write_atomically(path, b"\xff")
    assert path.read_bytes() == b"\xff"
    assert [found.name for found in tmp_path.iterdir()] == ["report.json"]


def test_write_errors_names_path_reason_and_way_out(tmp_path):
    expected = f"{tmp_path} cannot be written (No space left on device); choose another disk."
    with pytest.raises(InputError) as caught, write_errors(tmp_path, "choose another disk"):
        raise OSError(28, "No space left on device")
    assert str(caught.value) == expected


def test_require_utf8_refuses_a_name_of_other_bytes(tmp_path):
    require_utf8(tmp_path / "café")
    with pytest.raises(InputError, match=r"caf\\udce9' is not UTF-8, which checkpoints need; choose another\.$"):
        require_utf8(tmp_path / os.fsdecode(b"caf\xe9"))
