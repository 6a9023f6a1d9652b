"""Frames of video: raw streams, order over time, and smoothing."""
