"""Back ends that run a model: encode a slice once, decode its boxes, behind one small protocol."""
