"""Builds and measures the same networks in PyTorch; needs requirements-bench.txt."""
