"""Loading models and adapting them."""
