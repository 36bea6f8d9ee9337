"""The person's side: what is done is stored, and what may come next is told, on the device itself."""
