"""Training: a packed store and a config in, a run folder with checkpoints, curves and overlays out."""
