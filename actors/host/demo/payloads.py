"""Payload files: one GitHub webhook body each, named `EVENT.NN.json`."""

import importlib.resources
import json
import os
import re
import stat
from pathlib import Path
from typing import Any, Final

import msgspec

from greenroom.protocol.errors import InvalidInput
from greenroom.protocol.limits import INPUT_BYTES_MAX, WEBHOOK_BODY_BYTES_DEFAULT
from greenroom.protocol.values import encode_value

PAYLOADS_MAX: Final = 10_000
_HEADERS_BYTES: Final = 16 * 1024  # room in an input beside the payload
_NAMED: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\.[0-9]{1,9}\.json")
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
    payloads, or a file cannot be read, is not named `EVENT.NN.json`, is larger than a webhook may
    be, or holds no JSON object that can be stored.
    """
    if not os.path.isdir(folder):  # Path.is_dir raises where this process may not look
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
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise InvalidInput(f"{path} cannot be read: it is not a plain file")
        if about.st_size > WEBHOOK_BODY_BYTES_DEFAULT:
            raise InvalidInput(
                f"{path} has {about.st_size} bytes: a webhook body has at most "
                f"{WEBHOOK_BODY_BYTES_DEFAULT}"
            )
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error


def _checked(name: str, where: str, body: bytes) -> Payload:
    if not _NAMED.fullmatch(name):
        raise InvalidInput(f"{where} is not named EVENT.NN.json, as in issues.00.json")
    try:
        decoded = json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{where} is not JSON: {error}: mend or remove it") from error
    if not isinstance(decoded, dict):
        raise InvalidInput(f"{where} holds no JSON object: a webhook body is one")
    try:
        encode_value({"payload": decoded}, limit=INPUT_BYTES_MAX - _HEADERS_BYTES)
    except InvalidInput as error:
        raise InvalidInput(f"{where} cannot be an input: {error}") from error
    return Payload(name=name, event=name.split(".")[0], body=body)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
