"""A whole population on one machine."""
