"""The file below an environment, read without mapping it: is it as long as it has to be?

A page of the map that lies behind the end of the file kills the process that touches it, so this is
asked before any page but the two heads is touched. A sound file may be shorter than its head says:
pages that were taken and freed again by one transaction are counted, and never written. What is
behind the end of a sound file is in its list of free pages; anything else was cut off.
"""

import struct
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from greenroom.protocol.errors import StoreCorrupt, StoreUnavailable

_MAGIC: Final = 0xBEEFC0DE
_PAGE_HEAD: Final = struct.Struct("=QHHHH")  # number, -, flags, end of pointers, start of nodes
_NODE_HEAD: Final = struct.Struct("=HHHH")  # two parts of a size, flags, bytes of the key
_HEAD: Final = struct.Struct("=IIQQ")  # magic, version, address, size of the map
_TREE: Final = struct.Struct("=IHHQQQQQ")  # page size, flags, depth, 4 counts, root
_LAST: Final = struct.Struct("=QQ")  # the last page's number, the transaction's number
_NUMBER: Final = struct.Struct("=Q")
_POINTER: Final = struct.Struct("=H")
_HEAD_BYTES: Final = _PAGE_HEAD.size + _HEAD.size + 2 * _TREE.size + _LAST.size
_BRANCH: Final = 0x01
_LEAF: Final = 0x02
_ELSEWHERE: Final = 0x01  # a node whose value lies on pages of its own
_NO_ROOT: Final = 2**64 - 1
_HEADS: Final = 2


class _Head(NamedTuple):
    page_bytes: int
    free_root: int
    pages: int
    transaction: int


class _Cut(Exception):
    """A page that is needed is not in the file, or is no page."""


def check_whole(path: Path) -> None:
    """Raise StoreCorrupt when pages that the file must have were cut off its end.

    While other processes write, call it inside a read transaction, which keeps the pages that it
    reads from being used again. Raises StoreUnavailable when the file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as file:
            _check(path, file)
    except OSError as error:
        raise StoreUnavailable(f"{path} cannot be read: {error}") from error


def _check(path: Path, file: BinaryIO) -> None:
    # The heads come first: what they speak of was written before them.
    head = _newest_head(path, file)
    size = file.seek(0, 2)
    there = size // head.page_bytes
    if there >= head.pages:
        return
    try:
        free = sum(number >= there for number in _free_pages(file, head, there))
    except (_Cut, struct.error):
        free = 0
    if free < head.pages - there:
        raise StoreCorrupt(
            f"{path} has {size} of {head.pages * head.page_bytes} bytes: its end was cut off"
        )


def _newest_head(path: Path, file: BinaryIO) -> _Head:
    first = _head_at(file, 0)
    second = first and _head_at(file, first.page_bytes)
    if first is None or second is None:
        raise StoreCorrupt(f"{path} is not a store: its {file.seek(0, 2)} bytes have no two heads")
    return max(first, second, key=lambda head: head.transaction)


def _head_at(file: BinaryIO, offset: int) -> _Head | None:
    file.seek(offset)
    raw = file.read(_HEAD_BYTES)
    if len(raw) < _HEAD_BYTES:
        return None
    at = _PAGE_HEAD.size
    magic = _HEAD.unpack_from(raw, at)[0]
    page_bytes, *_, free_root = _TREE.unpack_from(raw, at + _HEAD.size)
    last, transaction = _LAST.unpack_from(raw, at + _HEAD.size + 2 * _TREE.size)
    if magic != _MAGIC or not 256 <= page_bytes <= 65536:
        return None
    return _Head(page_bytes, free_root, last + 1, transaction)


def _free_pages(file: BinaryIO, head: _Head, there: int) -> set[int]:
    """Walk the tree of free pages. Raises _Cut and struct.error when it cannot be read."""

    def read(number: int, count: int = 1) -> bytes:
        if number < _HEADS or number + count > there:
            raise _Cut
        file.seek(number * head.page_bytes)
        return file.read(count * head.page_bytes)

    found: set[int] = set()
    seen: set[int] = set()
    ahead = [] if head.free_root == _NO_ROOT else [head.free_root]
    while ahead:
        number = ahead.pop()
        if number in seen:
            raise _Cut
        seen.add(number)
        page = read(number)
        own, _, flags, end, _ = _PAGE_HEAD.unpack_from(page)
        if own != number or not flags & (_BRANCH | _LEAF):
            raise _Cut
        for pointer in range(_PAGE_HEAD.size, end, 2):
            node = _POINTER.unpack_from(page, pointer)[0]
            low, high, mark, key_bytes = _NODE_HEAD.unpack_from(page, node)
            if flags & _BRANCH:
                ahead.append(low | high << 16 | mark << 32)
                continue
            size, start = low | high << 16, node + _NODE_HEAD.size + key_bytes
            if mark & _ELSEWHERE:
                count = (_PAGE_HEAD.size + size - 1) // head.page_bytes + 1
                value = read(_NUMBER.unpack_from(page, start)[0], count)[_PAGE_HEAD.size :]
            else:
                value = page[start:]
            count = _NUMBER.unpack_from(value)[0]
            found.update(struct.unpack_from(f"={min(count, size // 8 - 1)}Q", value, 8))
    return found
