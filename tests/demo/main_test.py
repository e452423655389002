"""Tests for segnet_jax/demo/__main__.py."""

import re
import socket
import sys

import pytest

pytest.importorskip("fastapi", reason="FastAPI comes with requirements-demo.txt")

from segnet_jax.demo.__main__ import main  # noqa: E402
from segnet_jax.inference import pretrained  # noqa: E402
from tests.helpers.demo_networks import make_segmenter  # noqa: E402


def error_of(arguments, capsys):
    """Returns the one line that the command ends with."""
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_main_serves_the_first_shipped_network_on_loopback(small_example, tmp_path, monkeypatch, capsys):
    import uvicorn

    for name in ("second", "first"):
        make_segmenter().save_pretrained(tmp_path / name)
    monkeypatch.setattr(pretrained, "_ASSETS", tmp_path)
    assert pretrained.shipped_networks() == ["first", "second"]
    served = []
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: served.append(sockets[0].getsockname()))
    assert main(["--port=0"]) == 0
    ((address, port),) = served
    assert address == "127.0.0.1"
    assert capsys.readouterr().out == f"first is at http://127.0.0.1:{port}/ until Ctrl-C.\n"


def test_main_without_a_network_says_to_give_one(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrained, "_ASSETS", tmp_path)
    assert "give a work directory" in error_of([], capsys)


def test_main_names_a_taken_port_before_it_loads_the_network(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = error_of(["no/such/network", f"--port={port}"], capsys)
    assert f"Cannot listen at 127.0.0.1, port {port}" in error


@pytest.mark.parametrize("host", ["no.such.name.invalid", "192.0.2.1", "2001:db8::1"])
def test_main_names_an_address_that_is_not_its_own(host, capsys):
    assert f"Cannot listen at {host}, port 0" in error_of(["x", f"--host={host}", "--port=0"], capsys)


def test_main_names_an_unknown_network(tmp_path, capsys):
    assert "is no work directory" in error_of([str(tmp_path), "--port=0"], capsys)


def test_main_names_what_is_not_installed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert error_of(["x"], capsys).endswith("pip install -r requirements-demo.txt")


@pytest.mark.parametrize("argument", ["--seconds=0", "--max_megabytes=nan", "--waiting=-1", "--port=x", "--port=65536"])
def test_main_refuses_values_that_make_no_sense(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument])
    assert stop.value.code == 2
    assert re.search(argument.partition("=")[0], capsys.readouterr().err)
