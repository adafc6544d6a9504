"""GraySAM: box-prompted segmentation of medical images on a CPU."""

__version__ = "0.1.0"
