"""Every error that GraySAM raises on purpose.

    GraySamError
    |- CaseError        an .npz case cannot be read, or holds something that no decision covers
    |- CheckpointError  a checkpoint or exported model does not fit the network
    |- EngineError      an inference back end is missing, or cannot run what was asked
    |- StoreError       a packed training store is missing, truncated or of another version
    |- PrepareError     a source image, mask or folder cannot be turned into cases
    `- ScoreError       references or predictions cannot be scored at all

A message names the file, the field, what was wanted, what was found, and the remedy.
"""


class GraySamError(Exception):
    """Base of all errors that a user can act on; anything else that escapes is a defect of ours."""


class CaseError(GraySamError):
    """A case file cannot be used as it is."""


class CheckpointError(GraySamError):
    """A set of weights does not fit the network that its spec describes."""


class EngineError(GraySamError):
    """An inference back end is missing or cannot do what was asked of it."""


class StoreError(GraySamError):
    """A packed training store cannot be read or written."""


class PrepareError(GraySamError):
    """Source data cannot be turned into cases."""


class ScoreError(GraySamError):
    """Predictions cannot be scored."""
