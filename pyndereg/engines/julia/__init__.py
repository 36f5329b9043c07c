"""The julia engine: OrdinaryDiffEq and SciMLSensitivity behind the same words."""
