import shutil
import stat

import pytest

from segnet_jax.errors import InputError
from segnet_jax.export.web_runtime import VERSION, read_runtime
from segnet_jax.runtime.files import user_cache_dir
from tests.helpers.web_runtime import FILES, pack_runtime

EXPECTED = {name.replace(".mjs", ".js"): content for name, content in FILES.items()}


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def fake_npm(tmp_path, monkeypatch, script):
    """Has `npm` be a shell script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    npm = folder / "npm"
    npm.write_text(f"#!/bin/sh\n{script}\n")
    npm.chmod(npm.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def left():
    """Returns the names of what is in the cache."""
    return [path.name for path in user_cache_dir().iterdir()]


def test_read_runtime_reads_what_npm_packed(tmp_path, monkeypatch):
    assert read_runtime(pack_runtime(tmp_path / "runtime.tgz", monkeypatch)) == EXPECTED
    assert not user_cache_dir().exists()


def test_read_runtime_fetches_once_and_again_what_is_damaged(tmp_path, monkeypatch, capsys):
    packed = pack_runtime(tmp_path / "runtime.tgz", monkeypatch)
    arguments = tmp_path / "arguments"
    fake_npm(tmp_path, monkeypatch, f'echo "$@" >> {arguments}; cp {packed} onnxruntime-web-{VERSION}.tgz')
    for _ in range(2):
        assert read_runtime(None) == EXPECTED
    assert arguments.read_text().startswith(f"pack onnxruntime-web@{VERSION} ")
    assert capsys.readouterr().out == f"Fetching onnxruntime-web@{VERSION} (33 MB) by npm, once ...\n"
    assert left() == [f"onnxruntime-web-{VERSION}.tgz"]
    (user_cache_dir() / f"onnxruntime-web-{VERSION}.tgz").write_bytes(b"damaged")
    assert read_runtime(None) == EXPECTED
    assert arguments.read_text().count("pack") == 2


def test_read_runtime_refuses_another_package_than_was_published(tmp_path, monkeypatch):
    packed = pack_runtime(tmp_path / "runtime.tgz", monkeypatch)
    changed = tmp_path / "changed.tgz"
    changed.write_bytes(packed.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"changed.tgz is not onnxruntime-web@.* as it was published; give the file"):
        read_runtime(changed)
    with pytest.raises(InputError, match="cannot be read"):
        read_runtime(tmp_path / "missing.tgz")
    fake_npm(tmp_path, monkeypatch, f"cp {changed} onnxruntime-web-{VERSION}.tgz")
    with pytest.raises(InputError, match="npm fetched another .* look at its registry, or run `npm pack "):
        read_runtime(None)
    assert left() == []


def test_read_runtime_says_the_way_out_without_network_or_npm(tmp_path, monkeypatch):
    fake_npm(tmp_path, monkeypatch, "echo 'npm error network request failed' >&2; exit 1")
    with pytest.raises(InputError, match=r"npm cannot fetch .* \(npm error network .*\); connect .* by --runtime=FILE"):
        read_runtime(None)
    assert left() == []
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"by npm, which is not here; install Node.js, or run .* by --runtime=FILE"):
        read_runtime(None)
