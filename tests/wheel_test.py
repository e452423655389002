"""Builds the wheel, installs it outside the checkout and runs a configuration from it."""

import json
import os
import site
import subprocess
import sys
import venv
import zipfile

import pytest

from tests.helpers.paths import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Returns the wheel, built from a copy so that the checkout stays clean."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in tracked.stdout.decode().splitlines():
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = ["pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", *build], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_every_module_and_what_lies_beside_them(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "segnet_jax").rglob("*.py")}
    configs = {f"segnet_jax/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    data = {"segnet_jax/py.typed", "segnet_jax/report/published.json"}
    for folder in ("assets", "demo/page", "export/page"):
        files = (ROOT / "segnet_jax" / folder).rglob("*")
        data |= {str(path.relative_to(ROOT)) for path in files if path.is_file()}
    packaged = {name for name in names if ".dist-info/" not in name}
    assert packaged == modules | configs | data


@pytest.mark.ci
def test_wheel_trains_outside_the_checkout(wheel, tmp_path):
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    (packages,) = environment.glob("lib/python*/site-packages")
    # The dependencies are those of this environment; the package itself is not in it.
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()))
    zipfile.ZipFile(wheel).extractall(packages)
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "XLA_FLAGS")}
    small = ["data.train_scenes=4", "data.eval_scenes=2", "data.scene_size=(16, 24)", "train.duration=1 steps"]
    run = subprocess.run(
        [
            *(python, "-m", "segnet_jax.main", f"--config={packages}/segnet_jax/configs/synthetic.py"),
            *("--workdir=run", *(f"--config.{value}" for value in small), "--config.optimizer.warmup=0 steps"),
        ],
        cwd=tmp_path,
        env=kept,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads((tmp_path / "run" / "eval" / "val-1.json").read_text())["images"] == 2
    code = "import segnet_jax; print(segnet_jax.__file__)"
    where = subprocess.run([python, "-c", code], cwd=tmp_path, env=kept, capture_output=True, text=True, check=True)
    assert where.stdout.strip() == str(packages / "segnet_jax" / "__init__.py")
