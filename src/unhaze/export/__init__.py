"""Networks as files that run without torch."""
