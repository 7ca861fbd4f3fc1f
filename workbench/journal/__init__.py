"""Events, the append-only log, commands and history: what the notebook's side and the training side share."""
