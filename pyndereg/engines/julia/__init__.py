"""The julia engine: OrdinaryDiffEq, StochasticDiffEq and SciMLSensitivity behind the same words."""
