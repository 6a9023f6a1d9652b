"""Compiled kernels of unhaze; there is nothing here to call from elsewhere."""

from unhaze_kernels._strips import levels, restore

__all__ = ["INTERFACE", "__version__", "levels", "restore"]

__version__ = "0.1.0"

INTERFACE = 1
"""Number of the arguments' meaning; unhaze uses only those kernels whose number it knows."""
