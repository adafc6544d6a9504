"""`graysam view`: a local page on which a box becomes a mask at once, and a click or a brush mends it.

The server is bound to 127.0.0.1; `protocol.py` says what it and the page tell each other. Nothing here is imported by
prediction, and the challenge's images do not ship it.
"""
