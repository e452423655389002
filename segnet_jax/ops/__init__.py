"""Parameter-free functions on arrays: pooling with indices, convolutions, upsampling."""
