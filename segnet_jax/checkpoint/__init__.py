"""Checkpoints with checksums, through Orbax."""
