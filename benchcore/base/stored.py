"""Stored: what a file of results holds, typed in memory as on disk.

A file is read into its type and written from it with its keys in the order in which they were
given. What a file does not say is `None` or empty, never zero: an older benchcore, or another tool,
knew less. Keys that are not known are kept and written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetPydanticSchema,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import core_schema

Number = Annotated[
    float,
    # A whole number stays one, so that it is written as it was read.
    GetPydanticSchema(
        lambda _source, _handler: core_schema.union_schema(
            [core_schema.int_schema(strict=True), core_schema.float_schema(strict=True)],
            mode="left_to_right",
            custom_error_type="float_type",
        )
    ),
    WithJsonSchema({"type": "number"}),
]
Count = Annotated[int, Strict(), WithJsonSchema({"type": "integer", "minimum": 0})]
Flag = Annotated[bool, Strict()]
Facts = Annotated[
    dict[str, JsonValue],
    GetPydanticSchema(lambda _source, _handler: core_schema.dict_schema(core_schema.str_schema())),
    WithJsonSchema({"type": "object"}),
]
"""What nothing is reckoned with: it is shown and compared, and taken as it is."""


Status = Literal["running", "complete", "interrupted", "failed"]
"""How far what a file holds has come."""


class Stored(BaseModel):
    """A thing that a file holds.

    A text that holds a number is none, and is refused: it would fail where it is reckoned with.
    """

    model_config = ConfigDict(extra="allow", defer_build=True)

    SPARSE: ClassVar[frozenset[str] | None] = None
    """What `whole` leaves out where it is not said; `None`: everything."""

    NAMES: ClassVar[Mapping[str, str]] = {}
    """Keys that are no names of fields, by their fields, which have them as aliases."""

    _keys: tuple[str, ...] = PrivateAttr(())

    @model_validator(mode="wrap")
    @classmethod
    def _remember(cls, data: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(data)
        if isinstance(data, dict):
            made._keys = tuple(data)
        return made

    @classmethod
    def complete(cls, **said: Any) -> Self:
        """Return one with every key, in the order of the fields; what is not said by its default.

        What `whole` leaves out where it is not said is left out here, too.
        """
        made = cls(**said)
        if made.model_extra:
            raise TypeError(f"{cls.__name__} has no {', '.join(made.model_extra)}")
        made._keys = ()
        sparse = cls.SPARSE or ()
        made.model_fields_set.update(
            name for name in cls.model_fields if cls.NAMES.get(name, name) not in sparse
        )
        return made

    def to_json(self) -> dict[str, Any]:
        """Return it as its file holds it: what it does not say is not there."""
        return self._as_json(whole=False)

    def whole(self) -> dict[str, Any]:
        """Return it with every key that a reader may ask for: what it does not say is `None`."""
        return self._as_json(whole=True)

    def _as_json(self, *, whole: bool) -> dict[str, Any]:
        # Not pydantic's own: that takes five times as long, and a run is written at every level.
        values, said = {**self.__dict__, **(self.model_extra or {})}, self.model_fields_set
        if self.NAMES:
            values = {self.NAMES.get(name, name): value for name, value in values.items()}
            said = {self.NAMES.get(name, name) for name in said}
        names = dict.fromkeys(self._keys)
        for name in values:
            if name in said or (whole and self.SPARSE is not None and name not in self.SPARSE):
                names[name] = None
        return {name: _plain(values[name], whole=whole) for name in names}


_SCALARS: Final = frozenset({float, int, str, bool, type(None)})


def _plain(value: Any, *, whole: bool) -> Any:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, Stored):
        return value._as_json(whole=whole)
    if isinstance(value, dict):
        return {name: _plain(inner, whole=whole) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, whole=whole) for inner in value]
    return value
