"""Scores of whole splits."""
