"""Fetches onnxruntime-web, which runs networks in browsers, from npm's registry, once."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from segnet_jax.errors import InputError
from segnet_jax.runtime.files import user_cache_dir, write_errors

VERSION = "1.30.0"
# As the registry gives it for this version.
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
_PACKAGE = f"onnxruntime-web@{VERSION}"
_FILE = f"onnxruntime-web-{VERSION}.tgz"
_WAY_OUT = f"or run `npm pack {_PACKAGE}` elsewhere and give the file that it writes by --runtime=FILE"

# For each of its providers the script and the binary, by their names here and in the package. Some hosts do not know
# that .mjs is JavaScript, so browsers would refuse it.
PROVIDERS = {
    "webgpu": ("ort.webgpu.bundle.min", "ort-wasm-simd-threaded.asyncify.wasm"),
    "wasm": ("ort.wasm.bundle.min", "ort-wasm-simd-threaded.wasm"),
}


def read_runtime(file: Path | None) -> dict[str, bytes]:
    """Returns the files that a page needs, by name.

    Args:
      file: what `npm pack` wrote; None takes that of the user's cache, fetched if need be.

    Raises:
      InputError: if it cannot be fetched, or is not the very package that this version was tested with.
    """
    if file is None:
        file = user_cache_dir() / _FILE
        if not (file.is_file() and _is_intact(file.read_bytes())):
            _fetch(file)
    try:
        packed = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read ({error.strerror or error}); give a file that is there.") from error
    if not _is_intact(packed):
        raise InputError(
            f"{file} is not {_PACKAGE} as it was published; give the file that `npm pack {_PACKAGE}` writes."
        )
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:gz") as archive:
        names = {name: name for _, name in PROVIDERS.values()}
        names |= {f"{script}.mjs": f"{script}.js" for script, _ in PROVIDERS.values()}
        found = {new: archive.extractfile(f"package/dist/{old}") for old, new in names.items()}
        return {name: part.read() for name, part in found.items() if part is not None}


def _is_intact(packed: bytes) -> bool:
    return base64.b64encode(hashlib.sha512(packed).digest()).decode() == _SHA512


def _fetch(file: Path) -> None:
    """Has npm write the package to `file`, with the registry that it is set up for."""
    npm = shutil.which("npm")
    if npm is None:
        raise InputError(f"--format=web fetches {_PACKAGE} by npm, which is not here; install Node.js, {_WAY_OUT}.")
    print(f"Fetching {_PACKAGE} (33 MB) by npm, once ...", flush=True)
    with write_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        # Beside the file, so that it appears there when it is whole.
        with tempfile.TemporaryDirectory(dir=file.parent) as folder:
            # What npm itself has kept is as good, for it is checked; and of no network it tells soon.
            options = ["--silent", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error"]
            run = subprocess.run([npm, "pack", _PACKAGE, *options], cwd=folder, capture_output=True, text=True)
            fetched = Path(folder) / _FILE
            if run.returncode or not fetched.is_file():
                said = next(
                    (line.strip() for line in run.stderr.splitlines() if line.strip()), f"status {run.returncode}"
                )
                raise InputError(f"npm cannot fetch {_PACKAGE} ({said}); connect to the network, {_WAY_OUT}.")
            if not _is_intact(fetched.read_bytes()):
                raise InputError(
                    f"npm fetched another {_PACKAGE} than was published; look at its registry, {_WAY_OUT}."
                )
            os.replace(fetched, file)
