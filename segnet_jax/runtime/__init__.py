"""Devices, processes, signals and files: everything that depends on the machine a run is on."""
