"""Brownian paths: their law, and that every answer belongs to one path."""
