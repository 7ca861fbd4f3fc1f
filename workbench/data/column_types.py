"""Types of columns: the plain one of each, and one that the same column of several sources has.

pandas writes text as large_string, categories as dictionaries; both are text to everything that reads rows here. Whole numbers beside
numbers with a fraction become such numbers, null becomes anything, an object gets the fields it lacks. Truth values are no numbers, text is
neither. Not here: what columns mean (`layouts.py`), values of two types within one file (`tables.from_dicts`).
"""

from typing import TYPE_CHECKING, Any

from workbench.errors import DataError

if TYPE_CHECKING:
    import datasets
    import pyarrow as pa


def plain(table: "pa.Table") -> "pa.Table":
    """The table with text as string, bytes as binary, lists as list and categories as what they stand for, also inside lists and objects;
    itself where all is plain. A column too large for its plain type (2 GiB of text in one piece) stays as it is."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        wanted = _plain_type(field.type)
        if wanted != field.type:
            try:
                table = table.set_column(index, pa.field(field.name, wanted), _cast(table.column(index), wanted))
            except pa.ArrowInvalid:
                continue
    return table


def _plain_type(kind: "pa.DataType") -> "pa.DataType":
    import pyarrow as pa

    of = pa.types
    if of.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if of.is_large_string(kind) or of.is_string_view(kind):
        return pa.string()
    if of.is_large_binary(kind) or of.is_binary_view(kind):
        return pa.binary()
    if of.is_list(kind) or of.is_large_list(kind) or of.is_list_view(kind) or of.is_large_list_view(kind):
        inner = _plain_type(kind.value_type)
        return kind if of.is_list(kind) and inner == kind.value_type else pa.list_(inner)
    if of.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain_type(field.type)) for field in kind])
    return kind


def _cast(values: "pa.ChunkedArray", wanted: "pa.DataType") -> "pa.ChunkedArray":
    """The values in another type. Raises `ArrowInvalid` where one would change."""
    import pyarrow as pa

    try:
        return values.cast(wanted)
    except (pa.ArrowNotImplementedError, pa.ArrowTypeError):  # no cast of Arrow's own, as of dictionaries inside lists
        return pa.chunked_array([pa.array(values.to_pylist(), wanted)], wanted)


def one_type(tables: "dict[str, datasets.Dataset]") -> "list[datasets.Dataset]":
    """The tables of the sources, by name, with the same type for a column wherever it stands, so that they can be joined; rows are not
    copied, but for columns whose type changes. Raises `DataError` naming two sources and the column where there is no such type."""
    import datasets

    wanted: dict[str, Any] = {}
    first: dict[str, str] = {}
    for name, table in tables.items():
        for column, feature in table.features.items():
            if column not in wanted:
                wanted[column], first[column] = feature, name
            elif wanted[column] != feature:
                wanted[column] = _common(column, (first[column], wanted[column]), (name, feature))
    made = []
    for name, table in tables.items():
        changed = {column: wanted[column] for column, feature in table.features.items() if wanted[column] != feature}
        if changed:
            features = datasets.Features({column: changed.get(column, feature) for column, feature in table.features.items()})
            table = _recast(name, table, features, changed, first)
        made.append(table)
    return made


def _common(column: str, before: tuple[str, Any], here: tuple[str, Any]) -> Any:
    """The feature that takes the values of both; `before` and `here` are a source and its feature."""
    import datasets
    import pyarrow as pa

    kinds = [_plain_type(_arrow(feature)) for _, feature in (before, here)]
    special = [feature for _, feature in (before, here) if not _is_plain(feature)]
    try:
        schemas = [pa.schema([pa.field("x", kind)]) for kind in kinds]
        kind = pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowTypeError:
        kind = None
    # bytes are no text, and numbers that stand for names or files in one source are plain numbers in the other
    if kind is None or special or (pa.types.is_binary(kind) and pa.types.is_string(kinds[0]) != pa.types.is_string(kinds[1])):
        raise _clash(column, *(f"{name!r} has {_named(feature)}" for name, feature in (before, here)))
    return datasets.Features.from_arrow_schema(pa.schema([pa.field("x", kind)]))["x"]


def _recast(name: str, table: "datasets.Dataset", features: Any, changed: dict[str, Any], first: dict[str, str]) -> "datasets.Dataset":
    import datasets
    import pyarrow as pa

    rows = table.data.table
    for column, feature in changed.items():
        index = rows.schema.get_field_index(column)
        wanted = _arrow(feature)
        try:
            rows = rows.set_column(index, pa.field(column, wanted), _cast(rows.column(index), wanted))
        except pa.ArrowInvalid as error:
            told = str(error).splitlines()[0].rstrip(".")
            raise _clash(column, f"{first[column]!r} needs {_named(feature)}", f"{name!r} has values that are none ({told})") from error
    return datasets.Dataset(datasets.table.InMemoryTable(rows.replace_schema_metadata(None)), info=datasets.DatasetInfo(features=features),
                            indices_table=table._indices, fingerprint=datasets.fingerprint.generate_random_fingerprint())


def _arrow(feature: Any) -> "pa.DataType":
    import datasets

    return datasets.Features({"x": feature}).arrow_schema.field("x").type


def _is_plain(feature: Any) -> bool:
    """Whether it is nothing but its values: no label, image or sound."""
    import datasets

    if isinstance(feature, dict):
        return all(_is_plain(part) for part in feature.values())
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return _is_plain(feature.feature)
    return isinstance(feature, datasets.Value)


def _named(feature: Any) -> str:
    """A type in a person's words."""
    import datasets
    import pyarrow as pa

    if isinstance(feature, datasets.ClassLabel):
        return f"labels ({', '.join(feature.names[:3])}{', ...' if len(feature.names) > 3 else ''})"
    kind, of = _plain_type(_arrow(feature)), pa.types
    for name, is_it in (("text", of.is_string), ("whole numbers", of.is_integer), ("numbers", of.is_floating),
                        ("truth values", of.is_boolean), ("bytes", of.is_binary), ("times", of.is_temporal), ("lists", of.is_list), ("objects", of.is_struct)):
        if is_it(kind):
            return f"lists of {_named_of(kind)}" if name == "lists" else name
    return str(kind)


def _named_of(kind: "pa.DataType") -> str:
    import datasets
    import pyarrow as pa

    return _named(datasets.Features.from_arrow_schema(pa.schema([pa.field("x", kind.value_type)]))["x"])


def _clash(column: str, one: str, other: str) -> DataError:
    return DataError(f"The column {column!r} cannot be one type: {one}, {other}.",
                     "Give it one type in every source, or another name in one of them.")
