"""The notebook's side of runs: start, attach, control, list, replay. Imports neither torch nor the training side."""
