"""Weights from elsewhere: ImageNet's, and those of other runs."""
