"""Panel 5, the reward gap: does the reward model put the chosen reply first, and for the right reason?"""

from widgets.reward_gap.panel import RewardGap

__all__ = ["RewardGap"]
