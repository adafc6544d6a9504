"""Slices: their frames (geometry), their channels, and the tensor that an encoder reads."""
