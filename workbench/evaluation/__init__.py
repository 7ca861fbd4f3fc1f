"""How good a model is, measured on what it has not seen."""
