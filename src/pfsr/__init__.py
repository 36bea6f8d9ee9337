"""Personalized federated sequential recommender."""
