"""Evaluated runs beside the papers' tables."""
