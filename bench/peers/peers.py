"""What the scripts of this folder share: running programs, rounds, medians and the table."""
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parents[2]


class PeerError(Exception):
    """A peer, or Tandem, could not be built or run here; the message says why."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(command: list, log: pathlib.Path | None = None, env: dict | None = None) -> str:
    """Runs a program; its output. PeerError carries the last lines of what it said."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", env=env)
    except OSError as error:
        raise PeerError(f"{shlex.join(words)}: {error.strerror}") from error
    if log is not None:
        log.write_text(done.stdout + done.stderr)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()[-8:]
        raise PeerError(f"{shlex.join(words)}: exit code {done.returncode}\n  " + "\n  ".join(said))
    return done.stdout


def make_venv(folder: pathlib.Path, *installs: str) -> pathlib.Path:
    """A virtual environment, kept between runs; its interpreter. Each of `installs` is a line for pip install."""
    stamp = folder / "installs.txt"
    python = folder / "bin" / "python"
    if not stamp.exists() or stamp.read_text().splitlines() != list(installs):
        say(f"installing {'; '.join(installs)} in {folder}")
        venv.create(folder, clear=True, with_pip=True)
        for line in installs:
            run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *line.split()])
        stamp.write_text("\n".join(installs))
    return python


def physical_cores() -> int:
    """Cores that this process may use, SMT siblings counted once."""
    allowed = os.sched_getaffinity(0)
    cores = set()
    for cpu in allowed:
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text().strip() if siblings.exists() else str(cpu))
    return len(cores)


def spread(values: list[float]) -> float:
    """(largest - smallest) / median."""
    return (max(values) - min(values)) / statistics.median(values)


def format_table(header: list[str], rows: list[list[str]]) -> str:
    """Columns padded to their widest cell; the first is text, the others are numbers."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(w) for cell, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
