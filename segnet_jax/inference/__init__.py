"""Trained networks, and what is done with their predictions."""
