"""Damages files of checkpoints."""

from pathlib import Path


def flip_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def truncate(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def array_file(step_directory: Path) -> Path:
    return max((path for path in step_directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
