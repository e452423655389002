"""Describes the machine and the software that a benchmark runs on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax

import segnet_jax


def describe(device: jax.Device) -> dict[str, Any]:
    """Returns device, processor, cores and versions by name; PyTorch's only where it is imported.

    The version of segnet_jax has the commit with it, where the code lies in a git checkout.
    """
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "segnet_jax": _version(),
        "jax": jax.__version__,
        **({"torch": sys.modules["torch"].__version__} if "torch" in sys.modules else {}),
    }


def _version() -> str:
    git = ["git", "-C", str(Path(segnet_jax.__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        found = subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return segnet_jax.__version__
    return f"{segnet_jax.__version__} ({found})"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
