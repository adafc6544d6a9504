"""Source data in, challenge cases and training stores out."""
