"""Full-ranking metrics, slices, confidence intervals and the report."""
