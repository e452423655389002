"""Data sets as sharded ArrayRecord files."""
