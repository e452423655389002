"""Trained networks as files for other programs: ONNX and StableHLO."""
