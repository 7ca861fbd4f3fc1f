"""How every panel is built: figure sheets, theme, controls, live figures, the panel itself.

Knows nothing of runs, data sets or models; a panel brings those. Imports neither torch nor transformers.
"""
