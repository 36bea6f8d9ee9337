"""Predicts the next item from a sequence."""
