"""SegNet and its competitors for semantic segmentation, in JAX.

The layout follows one training run: ``main`` reads the flags, ``train`` runs the loop, ``data``
feeds it, ``models`` holds the networks and ``evaluate`` scores them. ``pooling`` is where to start
reading.
"""

__version__ = "0.1.0"
