"""Panel 7, the run monitor: is this run learning, and what did each change do?"""

from widgets.run_monitor.panel import RunMonitor

__all__ = ["RunMonitor"]
