"""Panel 2, the template builder: what does the model really read, and on which tokens does it train?"""

from widgets.template_builder.panel import TemplateBuilder

__all__ = ["TemplateBuilder"]
