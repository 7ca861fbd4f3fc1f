"""The worker's side: rows to tokens, trainers, the streaming callback. Never imported by the notebook's side."""
