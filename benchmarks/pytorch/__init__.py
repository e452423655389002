"""The same networks in PyTorch, to compare with."""
