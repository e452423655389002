"""Compares evaluated runs with the papers' tables."""
