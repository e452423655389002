"""Tests for segnet_jax/lock.py."""

import subprocess
import sys

import pytest

from segnet_jax.errors import InputError
from segnet_jax.lock import workdir_lock

_HOLDER = """
import sys
from pathlib import Path
from segnet_jax.lock import workdir_lock
with workdir_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_workdir_belongs_to_one_process_until_that_dies(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="Another process is training in"), workdir_lock(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with workdir_lock(tmp_path):
            pass
    with workdir_lock(tmp_path):
        pass
