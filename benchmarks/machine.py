"""Describes the machine and the software that a benchmark runs on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any

import jax


def describe(device: jax.Device) -> dict[str, Any]:
    """Returns device, processor, cores and versions by name; PyTorch's only where it is imported."""
    return {
        "device": device.device_kind,
        "platform": device.platform,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        **({"torch": sys.modules["torch"].__version__} if "torch" in sys.modules else {}),
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
