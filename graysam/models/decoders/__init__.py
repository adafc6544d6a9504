"""Mask decoders, one file each."""
