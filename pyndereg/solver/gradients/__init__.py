"""What a right-hand side was at its solve, kept so that a backward pass differentiates that and nothing else."""
