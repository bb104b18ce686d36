"""Mutations of the fuzzer's inputs: bytes, texts, YAML fields, tables, archives and file names."""

from __future__ import annotations

import io
import json
import math
import random
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence

import yaml

from wbcstudy.config_io import seal_record

_LAUGHS = "&a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"l{k}: &{chr(98 + k)} [{','.join(['*' + chr(97 + k)] * 9)}]\n" for k in range(9)
)
# Texts that are known to break programs.
TEXTS = (
    "", " ", "null", "~", "true", "no", "-1", "0", "1e400", ".inf", "-.inf", ".nan", "NaN", "NA", "0x" + "f" * 5000,
    "9" * 5000, "2024-13-45", "1:30:00", "0o777", "1_000", "\u0661\u0662", "[]", "{}", "[[1]]", "{a: 1}", "- a",
    "&a [*a]", "*nobody", "<<: 1", "|", ">", "%", "@", "`", "'", '"', "#", ": ", "? a", "!!binary aGk=",
    "!!set {a, b}", "!!float x", "!!python/object/apply:os.system ['touch pwned']",
    "!!python/object/new:subprocess.Popen [[touch, pwned]]", "[" * 3000, "{a: " * 1000, _LAUGHS,
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "</title><b>", "{{ 7 * 7 }}", "${HOME}",
    "$(touch pwned)", "; touch pwned", "%s%n", "{0.__class__}", "{case}", "{case}{case}", "{", "../../../etc/passwd",
    "..", ".", "/", "/etc/passwd", "/dev/zero", "C:\\x", "\\\\host\\x", "a\\..\\b", "~nobody_there/x", "a" * 300,
    "a/" * 3000, "\u00e9", "e\u0301", "\u202egnp.exe", "a\u2028b", "\ufeff", "\U0001f9ec", "\x1b[2J", "a\tb", "a\rb",
    "a\nb", "CON", "-rf", "*", "*" * 40 + "{case}", "*a" * 30 + "{case}.bmp", "?", "[!a]", "=1+1", "'#ff0000'",
    "'#12'", "synthetic", "imagenet", "resnet18", "zzz", "resnet-18",
)  # fmt: skip
_FILE_NAMES = (
    "a", "b", "007", " x ", ".hidden", "a b", "a,b", 'a"b', "x" * 230, "\u00e9" * 110, "\ud800", "\udcff"
)  # fmt: skip
# Keys of a network's config that select a class, and values that must be refused.
_CLASS_KEYS = ("class_name", "module", "registered_name", "name", "activation")
_CLASSES = (
    "Lambda", "TorchModuleWrapper", "os", "os.system", "subprocess", "builtins", "eval", "keras.src.utils", "function",
    "__lambda__", "wbcstudy>Nothing", "wbcstudy.nets.fast_layers", "TFSMLayer", None, "", 3, [], "Conv2D", "relu",
    "softmax",
)  # fmt: skip
VALUES = (
    None, True, -1, 0, 1, 2**31, 2**63, 10**30, 1e308, -0.0, math.inf, -math.inf, math.nan, "", [], {}, [None], [[]],
    ["a", "a"], {"a": {"b": []}}, b"\xff", [1, "#ff0000"], list(range(300)), "x" * 3000,
)  # fmt: skip
BYTES = (
    b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\x28", b"\xed\xa0\x80", b"\r\n", b"\x1a", b"\x80\0\0\0",
    b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff", b"\0\0\0\0", b"PK\x03\x04", b"%PDF", b"GIF89a",
)  # fmt: skip


def mutate(kind: str, rng: random.Random, examples: Sequence[bytes]) -> tuple[str, bytes]:
    """Return one damaged input.

    Args:
        kind: a key of `targets.TARGETS`.
        rng: generator of all random choices.
        examples: valid inputs of this kind.

    Returns:
        Name of the mutation, and the bytes of the input.
    """
    data = rng.choice(examples)
    mutation = rng.choice(_MUTATIONS[kind])
    return mutation.__name__.strip("_"), mutation(rng, data)


def _flip(rng: random.Random, data: bytes) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _cut(rng: random.Random, data: bytes) -> bytes:
    start, end = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    return rng.choice((data[:start], data[end:], data[:start] + data[end:], b""))


def _splice(rng: random.Random, data: bytes) -> bytes:
    start = rng.randint(0, len(data))
    piece = rng.choice((*BYTES, data[rng.randint(0, len(data)) :][:200], rng.randbytes(rng.randint(1, 40))))
    skip = rng.choice((0, len(piece)))
    return data[:start] + piece + data[start + skip :]


def _noise(rng: random.Random, data: bytes) -> bytes:
    return rng.choice((data[:8], b"")) + rng.randbytes(rng.randint(0, 400))


def _number(rng: random.Random, data: bytes) -> bytes:
    """Replace a number in a binary file, usually by a very large one."""
    form = rng.choice(("<H", ">H", "<I", ">I", "<q"))
    size = struct.calcsize(form)
    start = rng.randint(0, max(0, min(len(data), 200) - size))
    value = rng.choice((0, 1, 255, 2 ** (8 * size - 1) - 1, rng.getrandbits(8 * size - 1)))
    return data[:start] + struct.pack(form, value) + data[start + size :]


def _field(rng: random.Random, data: bytes) -> bytes:
    """Change, remove, copy or misspell a YAML field."""
    values = yaml.safe_load(data)
    for _ in range(rng.choice((1, 1, 2))):
        name = rng.choice(sorted(values) or ["x"])
        choice = rng.randrange(6)
        if choice < 3:
            inner = values.get(name)
            mapping = inner if isinstance(inner, dict) and inner and rng.random() < 0.5 else values
            key = rng.choice(sorted(mapping)) if mapping is inner else name
            mapping[key] = rng.choice((*VALUES, *(text for text in TEXTS if text.isprintable())))
        elif choice == 3:
            values.pop(name, None)
        elif choice == 4:
            values[rng.choice((name[:-1], name.upper(), name + " ", "__class__", 3, None))] = values.get(name)
        else:
            other = rng.choice(sorted(map(str, values)) or ["x"])
            values[name], values[other] = values.get(other), values.get(name)
        values = {key: value for key, value in values.items() if isinstance(key, str)} if choice != 4 else values
        if choice == 4:
            break
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode()


def _text(rng: random.Random, data: bytes) -> bytes:
    """Replace one line's value by a raw text, or insert the text as a line."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    text = rng.choice(TEXTS)
    settings = [k for k, line in enumerate(lines) if re.match(r"\s*\w+: ?", line)]
    if settings and rng.random() < 0.9:
        k = rng.choice(settings)
        lines[k] = re.match(r"\s*\w+: ?", lines[k])[0] + text
    else:
        lines.insert(rng.randrange(len(lines)), text)
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def _table(rng: random.Random, data: bytes) -> bytes:
    """Change a field, the rows, the separator, the header or the encoding of a CSV file."""
    rows = [line.split(",") for line in data.decode().splitlines()]
    choice = rng.randrange(8)
    row = rng.choice(rows)
    if choice < 3:
        row[rng.randrange(len(row))] = rng.choice((*TEXTS, '"' + "x" * 200_000, '"a\nb"', '"""', "a" * 200_000))
    elif choice == 3:
        rows.append(rng.choice(([*row, "more"], row[:1], [], ["001"] * 2000)))
    elif choice == 4:
        rows = rng.sample(rows, len(rows))
    elif choice == 5:
        return "\n".join(rng.choice(";\t| ").join(row) for row in rows).encode()
    elif choice == 6:
        text = "\n".join(",".join(row) for row in rows)
        return text.encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "cp037")))
    else:
        rows[0] = rng.choice((rows[0][::-1], rows[0] * 2, [name.upper() for name in rows[0]], [""] * 3, ["case_id"]))
    end = rng.choice(("\n", "\r\n", "\r", "\n\n"))
    return end.join(",".join(row) for row in rows).encode("utf-8", "surrogateescape")


def _bomb(rng: random.Random, data: bytes) -> bytes:
    """Return an image that claims a huge size or decompresses to one."""
    side = rng.choice((20_000, 65_535, 2**31 - 1))
    choice = rng.randrange(4)
    if choice == 0:
        return _png(side, side, zlib.compress(b"\0" * 100_000))
    if choice == 1:
        return _png(16, 12, zlib.compress(b"\0" * 50_000_000))
    if choice == 2:
        text = b"Comment\0\0" + zlib.compress(b"x" * 80_000_000)
        return _png(16, 12, zlib.compress(b"\0" * 16 * 4 * 12), (b"zTXt", text))
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def _png(width: int, height: int, pixels: bytes, *more: tuple[bytes, bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )


def _members(rng: random.Random, data: bytes) -> bytes:
    """Add or change a member: outside path, link, bomb, duplicate, encrypted, other compression."""
    out = io.BytesIO()
    top = "segmentation_WBC-master/"
    names = ["../x", "../../../tmp/x", "/tmp/x", "C:\\x", "..\\x", "a/../../x", "\u202ex", "a" * 5000, "", "/", "a\0b"]
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as after:
        members = {member.filename: before.read(member) for member in before.infolist()}
        victim = rng.choice(sorted(members))
        choice = rng.randrange(8)
        info = zipfile.ZipInfo(rng.choice(("", top, top + "Dataset 1/")) + rng.choice(names))
        if choice == 1:
            info = zipfile.ZipInfo(rng.choice((victim, top + "link")))
            info.external_attr = (rng.choice((stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK)) | 0o777) << 16
        content = rng.choice((b"x", b"/etc/passwd", b"\0" * 30_000_000)) if choice < 3 else b""
        if choice == 2:
            info = zipfile.ZipInfo(victim)
        if choice == 3:
            members[victim] = rng.choice((b"", members[victim] + b"x", members[victim][:-1], b"\0" * 30_000_000))
        if choice == 4:
            del members[victim]
        for name, body in members.items():
            method = rng.choice((zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_STORED)) if choice == 5 else None
            after.writestr(name, body, method)
        if choice == 6:
            for k in range(3000):
                after.writestr(f"{top}{k}/" + "d/" * rng.randrange(50), b"")
        if choice < 3:
            after.writestr(info, content, zipfile.ZIP_DEFLATED)
    packed = out.getvalue()
    if choice == 7:
        # Change flags and compression method in the local headers and in the central directory alike.
        method = struct.pack("<HH", rng.choice((0, 1, 9, 64)), rng.choice((0, 1, 9, 12, 14, 93, 99)))
        for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            starts = [match.start() + offset for match in re.finditer(signature, packed)]
            for start in starts[:: rng.choice((1, 2))]:
                packed = packed[:start] + method + packed[start + 4 :]
    return packed


def _description(rng: random.Random, data: bytes) -> bytes:
    """Change a class in a network's config; some of the classes would run code."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(out, "w") as after:
        for member in before.infolist():
            body = before.read(member)
            if member.filename == "config.json":
                text = body.decode()
                matches = [match for key in _CLASS_KEYS for match in re.finditer(rf'"{key}": ("[^"]*"|null)', text)]
                match = rng.choice(matches)
                text = text[: match.start(1)] + json.dumps(rng.choice(_CLASSES)) + text[match.end(1) :]
                body = rng.choice((text.encode(), text.encode(), text[: rng.randrange(len(text))].encode()))
            after.writestr(member, body)
    return out.getvalue()


def _record(rng: random.Random, data: bytes) -> bytes:
    """Change, remove or add a value at any depth of a record, and seal it again or remove its digests."""
    try:
        record = json.loads(data)
    except ValueError:
        return _table(rng, data)
    for _ in range(rng.choice((1, 1, 2))):
        holder = record
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(holder[key], dict | list) and rng.random() < 0.7:
                holder = holder[key]
                continue
            if rng.random() < 0.15:
                del holder[key]
            else:
                values = (*VALUES, 32, 0.5, "2", *TEXTS)
                holder[key] = rng.choice([value for value in values if not isinstance(value, bytes)])
            break
    if rng.random() < 0.5:
        record = {key: value for key, value in record.items() if key not in ("format", "sha256", "files")}
    elif rng.random() < 0.8:
        record = seal_record(record)
    return json.dumps(record).encode()


def _names(rng: random.Random, data: bytes) -> bytes:
    """Return unusual case names, separated by NUL, of any bytes that a file name may have."""
    names = []
    for _ in range(rng.randint(3, 6)):
        text = rng.choice((*TEXTS, *_FILE_NAMES))
        name = text.encode("utf-8", "surrogateescape" if "\udcff" in text else "surrogatepass")
        names.append(name.replace(b"/", b":").replace(b"\0", b"")[: rng.choice((40, 250))])
    return b"\0".join(names)


_BINARY = (_flip, _flip, _cut, _splice, _noise, _number, _number)
_YAML = (_field, _field, _field, _text, _text, _flip, _cut, _splice)
_MUTATIONS = {
    "study": _YAML,
    "dataset": _YAML,
    "cases": (_table, _table, _table, _text, _flip, _cut, _splice),
    "image": (*_BINARY, _bomb),
    "mask": (*_BINARY, _bomb),
    "archive": (_members, _members, _members, _flip, _number, _cut, _splice, _noise),
    "names": (_names,),
    "record": (_record, _record, _record, _record, _table, _flip, _cut, _splice, _text, _noise),
    "network": (_description, _description, _flip, _cut, _splice, _number, _noise),
}
