"""Devices, processes, signals, files: what a run needs of the machine."""
