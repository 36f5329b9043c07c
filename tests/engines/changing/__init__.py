"""Fields that change, capture, hook, cast or randomise, each as a script that a solver and a plain loop both run."""
