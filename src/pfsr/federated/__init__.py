"""Improves the model without seeing a sequence: pure functions, no network, no clock."""
