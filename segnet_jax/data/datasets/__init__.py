"""The data sets, one a file, each with its class table."""
