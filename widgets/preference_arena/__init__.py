"""Panel 10, the preference arena: which reply is better, and do people agree?"""

from widgets.preference_arena.panel import PreferenceArena

__all__ = ["PreferenceArena"]
