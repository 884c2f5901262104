"""Payload files: one GitHub webhook body each, named `EVENT.NN.json`."""

import importlib.resources
import json
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.protocol.errors import InvalidInput

PAYLOADS_MAX: Final = 10_000
_ROOT: Final = "greenroom.actors.host.demo"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """One webhook body. `event` is what GitHub sends as `X-GitHub-Event`; `body` is as sent."""

    name: str
    event: str
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body, decoded."""
        decoded: dict[str, Any] = json.loads(self.body)
        return decoded


def own_payloads() -> list[Payload]:
    """The payloads that come with the package, by name."""
    folder = importlib.resources.files(_ROOT) / "payloads"
    found = [
        _checked(entry.name, str(entry), entry.read_bytes())
        for entry in folder.iterdir()
        if entry.name.endswith(".json")
    ]
    return sorted(found, key=lambda payload: payload.name)


def load_payloads(folder: Path) -> list[Payload]:
    """Read every `*.json` of `folder`, by name.

    Raises InvalidInput, naming the file and what to do, when the folder is missing or has no
    payloads, or a file cannot be read, is not named `EVENT.NN.json`, or holds no JSON object.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder: give one that holds EVENT.NN.json files")
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InvalidInput(
            f"{folder} holds no payloads: name the files EVENT.NN.json, as in issues.00.json"
        )
    if len(files) > PAYLOADS_MAX:
        raise InvalidInput(f"{folder} holds {len(files)} payloads: use at most {PAYLOADS_MAX}")
    return [_checked(path.name, str(path), _read(path)) for path in files]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def _checked(name: str, where: str, body: bytes) -> Payload:
    parts = name.split(".")
    if len(parts) != 3 or not parts[0] or not parts[1].isdecimal():
        raise InvalidInput(f"{where} is not named EVENT.NN.json, as in issues.00.json")
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is not JSON: {error}: mend or remove it") from error
    if not isinstance(decoded, dict):
        raise InvalidInput(f"{where} holds no JSON object: a webhook body is one")
    return Payload(name=name, event=parts[0], body=body)
