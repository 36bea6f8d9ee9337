"""The layers that encoders are stacked from: the paper's block, and those of its rivals."""
