"""Panel 1, the dataset balancer: what share of training does each source get?"""

from widgets.dataset_balancer.panel import DatasetBalancer

__all__ = ["DatasetBalancer"]
