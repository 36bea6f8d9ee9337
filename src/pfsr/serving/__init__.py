"""The person's own page and REST API, on loopback only: what the device knows, recommends and has sent."""
