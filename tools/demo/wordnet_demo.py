"""Reads WordNet's database files and words them as dictionary entries for the demo corpus."""

import dataclasses
import re

POS_NAMES = {"n": "noun", "v": "verb", "a": "adjective", "r": "adverb"}
# Lexicographer files whose nouns are concrete enough for short questions: animal, artifact, body,
# food, object, person, phenomenon, plant, substance, time, location, feeling, group.
RUDE = re.compile(r"\b(negro|negroid|slut|whore|nigg|bastard|bitch|faggot|queer|sex|sexual|copulat|intercourse|"
                  r"genital|penis|vagina|rape|prostitut|offensive|obscene|race|racial|Jew|Jews)", re.I)
CONCRETE = {5, 6, 8, 13, 17, 18, 19, 20, 27, 28, 15, 12, 14}


@dataclasses.dataclass
class Word:
    lemma: str
    pos: str
    count: int
    topic: int
    gloss: str
    examples: list
    hypernym: str
    antonym: str
    named: bool


def clean_gloss(gloss):
    """(definition, examples): the first definition without remarks in brackets, and the quotations."""
    examples = [e.strip() for e in re.findall(r'"([^"]+)"', gloss)]
    text = re.sub(r'"[^"]*"', "", gloss)
    text = re.sub(r"\([^)]*\)", "", text).split(";")[0]
    return re.sub(r"\s+", " ", text).strip(" ;:,."), examples


def read_synsets(folder, name):
    synsets = {}
    for line in open(folder / f"data.{name}", encoding="utf-8", errors="replace"):
        if line.startswith("  "):
            continue
        head, gloss = line.split(" | ", 1)
        fields = head.split()
        count = int(fields[3], 16)
        lemmas = [re.sub(r"\(\w+\)$", "", fields[4 + 2 * i]) for i in range(count)]
        at = 4 + 2 * count
        pointers = [tuple(fields[at + 1 + 4 * i:at + 5 + 4 * i]) for i in range(int(fields[at]))]
        synsets[fields[0]] = (int(fields[1]), lemmas, pointers, gloss.strip())
    return synsets


def load(folder):
    """Every single-word lemma's most frequent sense, the most used words first."""
    counts = {}
    for line in open(folder / "cntlist.rev", encoding="utf-8"):
        key, sense, count = line.split()
        lemma, rest = key.split("%")
        pos = {"1": "n", "2": "v", "3": "a", "4": "r", "5": "a"}[rest[0]]
        counts[lemma, pos] = counts.get((lemma, pos), 0) + int(count)
    words = []
    for pos, name in zip("nvar", ("noun", "verb", "adj", "adv")):
        synsets = read_synsets(folder, name)
        for line in open(folder / f"index.{name}", encoding="utf-8"):
            if line.startswith("  "):
                continue
            fields = line.split()
            lemma, offsets = fields[0], fields[-int(fields[2]):]
            if not re.fullmatch(r"[a-z]{2,14}", lemma) or (lemma, pos) not in counts:
                continue
            topic, lemmas, pointers, gloss = synsets[offsets[0]]
            related = {"@": "", "!": ""}
            for kind, offset, target_pos, places in pointers:
                if kind not in related or related[kind] or target_pos != pos:
                    continue
                if kind == "!" and lemmas[int(places[:2], 16) - 1].lower() != lemma:
                    continue
                place = int(places[2:], 16) - 1 if kind == "!" else 0
                related[kind] = synsets[offset][1][place].replace("_", " ")
            definition, examples = clean_gloss(gloss)
            if 8 < len(definition) < 140:
                words.append(Word(lemma, pos, counts[lemma, pos], topic, definition, examples,
                                  related["@"], related["!"],
                                  any(l.lower() == lemma and l != lemma for l in lemmas)))
    words.sort(key=lambda w: -w.count)
    return words


def polite(text):
    """Whether a line may be shown to anyone."""
    return RUDE.search(text) is None


def entries(words):
    """One line per word, such as: river (noun): a large natural stream of water."""
    lines = []
    for word in words:
        if word.count < 2:
            continue
        line = f"{word.lemma} ({POS_NAMES[word.pos]}): {word.gloss}."
        if word.examples and len(word.examples[0]) < 80:
            line += f' Example: "{word.examples[0]}".'
        lines.append(line)
    return lines
