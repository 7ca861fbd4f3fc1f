"""Panel 3, the LoRA rank explorer: how many directions does an update really use, and where?"""

from widgets.rank_explorer.panel import RankExplorer

__all__ = ["RankExplorer"]
