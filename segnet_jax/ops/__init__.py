"""Computes without parameters of its own: pooling with indices, convolutions, upsampling."""
