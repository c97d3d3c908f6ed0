#!/usr/bin/env python3
"""Writes unicode_ranges.inc: the character classes of Kimi's split pattern.

The classes are asked from tiktoken's own regex engine (pip install tiktoken), so that they follow
the Unicode version of the reference encoder: with a pattern that is one class, encoding drops every
character outside it.

    python3 engine/text/unicode_ranges.py > engine/text/unicode_ranges.inc
"""
import tiktoken

# In the order of the bits of CharClass in unicode_classes.h.
CLASSES = [
    r"\p{Han}",
    r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]",
    r"\p{N}",
    r"\p{L}",
    r"\s",
    r"[\r\n]",
]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]


def members(pattern):
    bytes_only = {bytes([i]): i for i in range(256)}
    encoding = tiktoken.Encoding("class", pat_str=pattern, mergeable_ranks=bytes_only, special_tokens={})
    found = set()
    for start in range(0, len(CODE_POINTS), 65536):
        text = "".join(map(chr, CODE_POINTS[start : start + 65536]))
        found.update(map(ord, encoding.decode(encoding.encode_ordinary(text))))
    return found


def main():
    sets = [members(pattern) for pattern in CLASSES]
    starts, last = [], 0
    for code_point in range(0x110000):
        mask = sum(1 << bit for bit, found in enumerate(sets) if code_point in found)
        if mask != last:
            starts.append(f"{{0x{code_point:X},{mask}}},")
            last = mask
    print(f"// Written by unicode_ranges.py with tiktoken {tiktoken.__version__}: {{first code point, class bits}}; a")
    print("// range ends where the next begins. Code points before the first have no class.")
    line = ""
    for item in starts:
        if len(line) + len(item) > 100:
            print(line)
            line = ""
        line += item
    print(line)


main()
