"""What the benchmark compares with; needs requirements-bench.txt."""
