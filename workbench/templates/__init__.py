"""How an example becomes text and tokens, and which of them are trained."""
