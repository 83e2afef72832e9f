"""Changes images and archives with a mind to their structure: PNG's chunks and tar's headers get their sums again, so that what they hold is read."""

from __future__ import annotations

import random
import re
import struct
import tarfile
import zlib

from mutation import Blind, plain_text


def image(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A picture: PNG's chunks get their sums again, so that what they hold is read; JPEG's segments change their lengths."""
    if data.startswith(b"\x89PNG") and chance.random() < 0.7:
        return _png(data, chance, blind)
    at = chance.randrange(len(data) + 1)
    ways = (
        lambda: blind(data),
        lambda: blind(data[:64]) + data[64:],
        lambda: data[:at] + chance.randbytes(chance.randint(1, 4)) + data[at + chance.randint(0, 4) :],
        lambda: data[:at],
        lambda: data + b"\xff\xd9",
        lambda: data[:at] + struct.pack(">H", chance.choice((0, 1, 2, 8, 255, 0xFFFF, 8192))) + data[at + 2 :],
    )
    return chance.choice(ways)()


def _png(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    chunks, at = [], 8
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    if not chunks:
        return blind(data)
    chosen = chance.randrange(len(chunks))
    kind, content = chunks[chosen]
    what = chance.random()
    if what < 0.5:
        chunks[chosen] = kind, blind(content)[: 1 << 16]
    elif what < 0.6:
        del chunks[chosen]
    elif what < 0.8:
        texts = (
            (b"tEXt", b"a\0b"),
            (b"zTXt", b"a\0\0" + zlib.compress(bytes(2000))),
            (b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
            (b"acTL", bytes(8)),
            (b"tRNS", b"\0\0"),
        )
        chunks.insert(chance.randrange(len(chunks) + 1), chance.choice(texts))
    else:
        chunks.insert(chance.randrange(len(chunks) + 1), chunks[chosen])
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">L", len(body)) + name + body + struct.pack(">L", zlib.crc32(name + body)) for name, body in chunks
    )


def zip_file(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A zip: numbers in its headers change, in the list of files or before a file; or its bytes, blindly."""
    signatures = [match.start() for match in re.finditer(rb"PK(?:\x01\x02|\x03\x04|\x05\x06|\x06\x06|\x06\x07)", data)]
    if not signatures or chance.random() < 0.3:
        return blind(data)
    at = chance.choice(signatures) + 4 + chance.randrange(44)
    width = chance.choice("BHLQ")
    value = chance.choice(
        (0, 1, 2, 8, 12, 14, 0x800, 0xFF, 0xFFFF, 0xFFFFFFFF, 1 << 40, chance.randrange(1 << 16), len(data), len(data) - 1)
    )
    written = struct.pack(f"<{width}", value & ((1 << 8 * struct.calcsize(f"<{width}")) - 1))
    return data[:at] + written + data[at + len(written) :]


def tar_file(data: bytes, chance: random.Random, blind: Blind) -> bytes:
    """A tar behind one byte: fields of a header change and its sum is made good; entries come twice, go, change places."""
    if not data or chance.random() < 0.2:
        return blind(data)
    head, blocks = data[:1], [data[at : at + 512].ljust(512, b"\0") for at in range(1, len(data), 512)]
    if not blocks:
        return blind(data)
    headers = [at for at, block in enumerate(blocks) if block[257:262] == b"ustar"] or [0]
    at, what = chance.choice(headers), chance.random()
    if what < 0.6:
        blocks[at] = _header(blocks[at], chance)
    elif what < 0.8:
        blocks.insert(chance.choice(headers), blocks[at])
    elif what < 0.9:
        del blocks[at]
    else:
        other = chance.randrange(len(blocks))
        blocks[other] = plain_text(blocks[other], chance, blind)[:512].ljust(512, b"\0")
    return (bytes([chance.randrange(3)]) if chance.random() < 0.2 else head) + b"".join(blocks)


def _header(block: bytes, chance: random.Random) -> bytes:
    """A header with one field changed: name, mode, size, type, link, magic or prefix."""
    begin, end = chance.choice(((0, 100), (100, 108), (124, 136), (124, 136), (156, 157), (156, 157), (157, 257), (257, 265), (345, 500)))
    value = chance.choice(
        (
            b"", b"\xff" * 12, b"\x80" + bytes(10) + b"\x01", b"77777777777", b"0000001000", b"-1", b" 12 ", b"x", b"g", b"L", b"K", b"S", b"1", b"2", b"3", b"6", b"5",
            b"../a", b"/a", b"a\\b", b"C:a", b"\xff\xfe", b"a" * 100, chance.randbytes(3),
        )
    )  # fmt: skip
    changed = block[:begin] + value[: end - begin].ljust(end - begin, b"\0") + block[end:]
    total = tarfile.calc_chksums(changed)[0]
    return changed[:148] + b"%06o\0 " % total + changed[156:]
