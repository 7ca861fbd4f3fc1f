"""Panel 8, the data explorer: what is in these rows, and which of them should not be trained on?"""

from widgets.data_explorer.panel import DataExplorer

__all__ = ["DataExplorer"]
