"""From a trained bundle to the folder that a device runs, without PyTorch."""
