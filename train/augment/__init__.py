"""How training examples are varied: the image itself, the box that prompts an object, and the memory of a neighbour.

`train.dataset` takes slices and masks from the store, has them changed here, and hands them to the predictor's own
preparation; every draw comes from the generator that it passes in.
"""
