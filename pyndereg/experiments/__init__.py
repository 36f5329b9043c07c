"""The papers' experiments: a configuration in, a run record out."""
