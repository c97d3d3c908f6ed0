#!/usr/bin/env python3
"""Random models answer under schemas.json; `jsonschema`, which knows nothing of our grammars, says whether it is valid.

Needs the packages of tests/requirements.txt (build/venv, made by tools/test): without them it exits with 77, skipped.
TANDEM_RANDOM_OUTPUTS: answers per schema (4). With TANDEM_KIMI_DATA the published vocabulary is used, too.
"""
import collections
import json
import os
import pathlib
import subprocess
import sys
import tempfile

SOURCE = pathlib.Path(os.environ.get("TANDEM_SOURCE_DIR", pathlib.Path(__file__).parents[2]))
BINARY = pathlib.Path(os.environ.get("TANDEM_BINARY_DIR", SOURCE / "build" / "release"))
HERE = pathlib.Path(__file__).parent

venv = SOURCE / "build" / "venv" / "bin" / "python"
if venv.exists() and not sys.prefix.startswith(str(venv.parents[1])):
    os.execv(venv, [str(venv), *sys.argv])
try:
    import jsonschema
except ImportError as error:
    print(f"skipped: {error} (tools/test installs tests/requirements.txt in build/venv)")
    sys.exit(77)


def validator(schema):
    cls = jsonschema.Draft7Validator if isinstance(schema.get("items"), list) else jsonschema.Draft202012Validator
    return cls(schema)


def check(vocabulary, per_schema, only=()):
    """Prints counts; returns the number of answers that are not valid."""
    schemas = json.loads((HERE / "schemas.json").read_text())
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as out:
        subprocess.run([BINARY / "random_outputs", vocabulary, HERE / "schemas.json", str(per_schema), out.name, *only],
                       check=True)
        lines = [json.loads(line) for line in open(out.name, encoding="utf-8")]
    counts, tokens, bad = collections.Counter(), 0, 0
    for line in lines:
        tokens += line["tokens"]
        if line["error"]:
            problem = line["error"]
        elif not line["ended"]:
            counts[f"cut:{line['schema']}"] += 1
            continue
        else:
            try:
                value = json.loads(line["text"])  # control characters are errors here, as they should be
                errors = list(validator(schemas[line["schema"]]).iter_errors(value))
                problem = errors[0].message if errors else None
            except ValueError as error:
                problem = str(error)
        if problem:
            bad += 1
            print(f"NOT VALID {line['schema']}: {problem[:200]}\n  {line['text'][:300]!r}")
        else:
            counts["valid"] += 1
    print(f"{vocabulary}: {len(lines)} answers, {tokens} tokens: {counts['valid']} valid, {bad} not, cut off:",
          {name[4:]: n for name, n in counts.items() if name.startswith("cut:")})
    if len(lines) != per_schema * (1 if only else len(schemas)) or counts["valid"] + bad < len(lines):
        print("not every answer came to an end")
        bad += 1
    return bad


per_schema = int(os.environ.get("TANDEM_RANDOM_OUTPUTS", "4"))
failures = check(SOURCE / "tools" / "demo" / "model", per_schema, sys.argv[1:2])
if os.environ.get("TANDEM_KIMI_DATA"):
    failures += check(os.environ["TANDEM_KIMI_DATA"], per_schema, sys.argv[1:2])
else:
    print("skipped for the published vocabulary: TANDEM_KIMI_DATA is not set")
sys.exit(1 if failures else 0)
