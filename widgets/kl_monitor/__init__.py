"""Panel 6, the KL monitor: is the policy still getting better, or only better paid?"""

from widgets.kl_monitor.panel import KLMonitor

__all__ = ["KLMonitor"]
