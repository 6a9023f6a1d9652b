"""Slow, plain NumPy versions of what the package computes, written independently of it."""
