"""Looks through a whole data set: what it holds, what is wrong with it, and the configuration that it needs."""
