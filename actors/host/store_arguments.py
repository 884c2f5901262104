"""Arguments that several commands share, and what they must be."""

import os
from pathlib import Path
from typing import Annotated

import typer

from greenroom.protocol.errors import InvalidInput, StoreNotFound

StoreFolder = Annotated[Path, typer.Argument(help="The folder of the store.")]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def existing_store(store: Path) -> Path:
    """Return the path. Raises InvalidInput when it is no folder, StoreNotFound when nothing is
    there.
    """
    if not os.path.isdir(store):  # Path.is_dir raises where this process may not look
        if os.path.lexists(store):
            raise InvalidInput(f"{store} is not a folder: a store is one")
        raise StoreNotFound(f"there is no store at {store}")
    return store
