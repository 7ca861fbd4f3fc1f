"""Panel 4, the quantization viewer: what does each weight become, and what does that cost?"""

from widgets.quantization_viewer.panel import QuantizationViewer

__all__ = ["QuantizationViewer"]
