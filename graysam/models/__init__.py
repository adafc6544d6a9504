"""The networks: the faithful EfficientViT-SAM-L0 and the small box-frame model, described by one spec."""
