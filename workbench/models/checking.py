"""Whether a method can be applied to a model, told before anything is loaded.

For most methods the names and shapes of the tensors tell, read from the headers of the files; nothing heavy is imported then. For the
others, and for a model that is not on this disk, the model is built from its config on torch's meta device and the method applied to that.
"""

from workbench.models import folders
from workbench.models.adaptation import Method


def check_method(method: Method, source: str, classifies: bool = False) -> None:
    """Raises `RecipeError` where `method` cannot do its thing on the model in `source`, a folder or hub id; `classifies`: with a head for
    labels on it.

    Raises `WorkbenchError` where what an adapter folder adds cannot become the base of another method.
    """
    folders.check_mergeable(source)
    shapes = folders.shapes_of(source) if method.by_shapes else None
    if shapes is not None:
        method.check_shapes(shapes)
        return
    config = folders.config_of(source)
    if classifies:
        from workbench.models import classifier

        config = classifier.labelled(config, ("no", "yes"))
    method.check(config)
