"""Training runs, from a configuration to a work directory."""
