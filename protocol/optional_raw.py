"""A field that holds already encoded bytes, or nothing."""

from typing import TYPE_CHECKING

import msgspec

# msgspec decodes a field of type `Raw | None` only when it is null: in a union, Raw matches
# nothing. Declared as `Raw` with the default None, in a Struct with omit_defaults, the field is
# left out when it is None and decoded as it is otherwise.
if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    OptionalRaw = msgspec.Raw
