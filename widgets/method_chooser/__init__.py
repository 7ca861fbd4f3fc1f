"""Panel 9, the method chooser and memory planner: which ways of training fit, and what takes the room?"""

from widgets.method_chooser.panel import MethodChooser

__all__ = ["MethodChooser"]
