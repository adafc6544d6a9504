"""The networks: image encoders and mask decoders from a registry, put together and described by one spec."""
