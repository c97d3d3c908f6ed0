"""Turns Debian packages of freely licensed text into the demo model's corpus.

Input: a folder SRC into which the packages of README.md were unpacked (dpkg-deb -x).
Output in OUT: one `<domain>.jsonl` per domain, a line {"text"} per document, and chat.jsonl
with lines {"messages", "thinking"}. The domains are prose, dictionary, manual and german.
"""

import argparse
import collections
import gzip
import html
import json
import pathlib
import random
import re
import struct
import zlib

import chat_demo
import wordnet_demo

RUDE_GERMAN = re.compile(r"\b(fick|scheiß|hure|arsch|geil|titten|sex|törn|kack|piss|nutte|nackt)", re.I)
# Narrative books of the Bible, by their position in the module's block order (one block per book).
PROSE_BOOKS = {"Gen", "Exod", "Josh", "Judg", "Ruth", "1Sam", "2Sam", "1Kgs", "2Kgs", "Esth", "Dan",
               "Jonah", "Matt", "Mark", "Luke", "John", "Acts"}


def sword_verses(folder, testament):
    """Yields (book, chapter, text) for every verse of a SWORD zText module (bzs/bzv/bzz files)."""
    blocks = (folder / f"{testament}.bzz").read_bytes()
    spans = list(struct.iter_unpack("<III", (folder / f"{testament}.bzs").read_bytes()))
    texts = [zlib.decompress(blocks[at:at + size]) for at, size, _ in spans]
    verse_bytes = (folder / f"{testament}.bzv").read_bytes()
    book, chapter = "", 0
    for block, start, length in struct.iter_unpack("<IIH", verse_bytes):
        if block >= len(texts) or length == 0:
            continue
        raw = texts[block][start:start + length].decode("utf-8", "replace")
        for name in re.findall(r'osisID="(\w+)"', raw):
            book = name
        for name, number in re.findall(r'osisID="(\w+)\.(\d+)"', raw):
            book, chapter = name, int(number)
        yield book, chapter, raw


def clean_verse(raw):
    """Plain text of one verse: without notes, titles and markup."""
    raw = re.sub(r"<(note|title)\b.*?</\1>", "", raw, flags=re.S)
    text = html.unescape(re.sub(r"<[^>]+>", " ", raw))
    text = text.translate(str.maketrans("“”‘’—", "\"\"''-"))
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r'(^|[ (])" ', r'\1"', text)
    return re.sub(r' ([,.;:!?]|"(?= |[,.]|$))', r"\1", text)


def prose(src):
    """Chapters of the narrative books, paragraphs of about six verses."""
    folder = src / "usr/share/sword/modules/texts/ztext/engWEB2015eb"
    chapters = {}
    for testament in ("ot", "nt"):
        for book, chapter, raw in sword_verses(folder, testament):
            text = clean_verse(raw)
            if book in PROSE_BOOKS and text:
                chapters.setdefault((book, chapter), []).append(text)
    return [v for v in chapters.values() if len(v) > 3]


def roff_paragraphs(path):
    """(section, paragraph) pairs of a manual page; tables, code and lists of options are left out."""
    lines = gzip.open(path, "rt", encoding="utf-8", errors="replace").read().split("\n")
    section, words, skip, out = "", [], False, []

    def flush():
        text = re.sub(r"\s+", " ", " ".join(words)).strip()
        words.clear()
        if text:
            out.append((section, text))

    for line in lines:
        if line.startswith((".nf", ".EX", ".TS", ".de")):
            skip = True
        elif line.startswith((".fi", ".EE", ".TE", "..")):
            skip = False
        elif skip or line.startswith(('.\\"', "'\\\"")):
            continue
        elif match := re.match(r"\.S[HS] ?(.*)", line):
            flush()
            section = match[1].strip('" ')
        elif re.match(r"\.(PP|P|LP|TP|IP|HP|RS|RE|br|sp|TQ)\b", line):
            flush()
        elif match := re.match(r"\.(B|I|BR|RB|IR|RI|BI|IB|SM|SB)\s+(.*)", line):
            parts = re.findall(r'"([^"]*)"|(\S+)', match[2])
            joint = "" if len(match[1]) == 2 else " "
            words.append(joint.join(a or b for a, b in parts))
        elif not line.startswith((".", "'")):
            words.append(line)
    flush()
    return out


def clean_roff(text):
    text = re.sub(r"\\f(\[\w*\]|\(..|.)", "", text)
    text = re.sub(r"\\\(co", "(c)", re.sub(r"\\\((aq|cq|oq)", "'", text))
    text = re.sub(r"\\[(\[](lq|rq|dq)\]?", '"', text)
    text = re.sub(r"\\[&|^/,%:)]", "", text).replace("\\-", "-").replace("\\(bu", "").replace("\\e", "\\")
    return re.sub(r"\s+", " ", text.replace("\\ ", " ").replace("\\~", " ")).strip()


def manual_pages(src):
    """(name, section number, headline, paragraphs) for every English page."""
    pages = []
    for path in sorted((src / "usr/share/man").glob("man[123]/*.gz")):
        pairs = [(s, clean_roff(t)) for s, t in roff_paragraphs(path)]
        name, number = path.name.split(".")[0], path.name.split(".")[1][0]
        headline = next((t for s, t in pairs if s == "NAME"), "")
        keep = [t for s, t in pairs if s.upper() in
                ("DESCRIPTION", "RETURN VALUE", "ERRORS", "NOTES", "BUGS", "CAVEATS")
                and re.match(r"[A-Z]", t) and t.endswith((".", ":")) and 40 < len(t) < 900
                and "\\" not in t]
        if " - " in headline:
            pages.append((name, number, headline, keep))
    return pages


def manual_documents(pages, limit, rng):
    """One document per page, none with a paragraph seen before, up to `limit` characters in sum."""
    seen, documents, total = set(), [], 0
    for _, number, headline, keep in sorted(pages, key=lambda p: (p[1] != "1", rng.random())):
        fresh = [p for p in keep if p not in seen]
        seen.update(fresh)
        text = headline + "\n" + "\n".join(fresh)
        if fresh and total < limit:
            documents.append(text)
            total += len(text)
    return documents


def plain_ding(text):
    text = re.sub(r"\s*(\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|<[^>]*>|/[A-Z]+/)", "", text)
    return re.sub(r"\s+", " ", text.translate(str.maketrans("’“”„", "'\"\"\""))).strip()


def ding_entries(src):
    """(German segments, English segments) of the Ding word list, aligned one to one."""
    for line in open(src / "usr/share/trans/de-en", encoding="utf-8"):
        if line.startswith("#") or " :: " not in line:
            continue
        german, english = (side.split(" | ") for side in line.rstrip("\n").split(" :: ", 1))
        if len(german) == len(english):
            yield german, english


def german_sentences(src):
    """(German sentence, English sentence) pairs among the word list's examples."""
    pairs = []
    for german, english in ding_entries(src):
        for one, other in zip(german, english):
            one, other = plain_ding(one.split(";")[0]), plain_ding(other.split(";")[0])
            if re.match(r"[A-ZÄÖÜ].{12,110}[.!?]$", one) and re.match(r"[A-Z].*[.!?]$", other) and "..." not in one and "…" not in one + other and "/" not in one:
                pairs.append((one, other))
    return pairs


def german_nouns(src):
    """English noun -> (article, German noun), among the candidates the one the list uses most."""
    article = {"m": "der", "f": "die", "n": "das"}
    entries = list(ding_entries(src))
    uses = collections.Counter(
        word for german, _ in entries for text in german for word in re.findall(r"\w+", text))
    found = {}
    for german, english in entries:
        match = re.match(r"([A-ZÄÖÜ][a-zäöüß]{1,14}) \{([mfn])\}", german[0])
        other = plain_ding(english[0].split(";")[0])
        if match and re.fullmatch(r"[a-z]+", other):
            if other not in found or uses[match[1]] > uses[found[other][1]]:
                found[other] = (article[match[2]], match[1])
    return found


def polite_lines(document):
    return "\n".join(line for line in document.split("\n")
                     if wordnet_demo.polite(line) and not RUDE_GERMAN.search(line))


def write_lines(path, items):
    with open(path, "w", encoding="utf-8") as file:
        for item in items:
            file.write(json.dumps(item, ensure_ascii=False) + "\n")


def write_domain(out, name, documents, clean=lambda text: text):
    write_lines(out / f"{name}.jsonl", ({"text": text} for text in map(clean, documents)))
    print(f"{name}: {len(documents)} documents, {sum(map(len, documents)):,} characters")


def group(items, size, joint, rng):
    rng.shuffle(items)
    return [joint.join(items[i:i + size]) for i in range(0, len(items), size)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--src", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)

    chapters = prose(args.src)
    write_domain(args.out, "prose", [
        "\n".join(" ".join(c[i:i + 6]) for i in range(0, len(c), 6)) for c in chapters])
    words = wordnet_demo.load(args.src / "usr/share/wordnet")
    write_domain(args.out, "dictionary", group(wordnet_demo.entries(words), 12, "\n", rng), polite_lines)
    pages = manual_pages(args.src)
    write_domain(args.out, "manual", manual_documents(pages, 1_600_000, rng))
    sentences = german_sentences(args.src)
    write_domain(args.out, "german", group(sorted({g for g, _ in sentences}), 12, "\n", rng), polite_lines)

    parts = (words, pages, german_nouns(args.src), chapters, rng)
    for name, build in (("chat", chat_demo.build), ("chat_narrow", chat_demo.build_narrow)):
        write_lines(args.out / f"{name}.jsonl", build(*parts))


if __name__ == "__main__":
    main()
