"""An encoder and a decoder as somebody may add them: one file each, and one for a frame of its own."""
