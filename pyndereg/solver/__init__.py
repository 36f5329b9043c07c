"""The embedded solver: what it is made of."""
