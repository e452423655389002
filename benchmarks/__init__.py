"""Measures the networks, the input pipeline, the start of a run and collectives: `python -m benchmarks --help`."""
