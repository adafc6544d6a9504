"""What the tests call a tiny model: built and run in a blink, with every part that a large one has."""

from graysam.models.spec import ModelSpec

TINY = ModelSpec(
    name="tiny",
    canvas=64,
    view_size=32,
    encoder_widths=(8, 8, 16, 16, 16),
    decoder_widths=(8, 16, 16, 16),
    embedding_width=16,
)
