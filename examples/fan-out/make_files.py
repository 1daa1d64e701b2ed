"""The texts for the fan-out: so many small files of words, the same ones each time."""

import random
from pathlib import Path

WORDS = ("journal", "fact", "fold", "plan", "resume", "step", "lease", "epoch", "store", "key")


def texts(folder: str, count: int) -> dict[str, object]:
    """Write the files; return where they are."""
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw = random.Random(number)
        (place / f"{number:04}.txt").write_text(" ".join(draw.choices(WORDS, k=20 + number % 30)), "utf-8")
    return {"folder": folder, "count": count}


def count_words(path: str) -> dict[str, int]:
    """Return how often each word stands in a file."""
    words = Path(path).read_text("utf-8").split()
    return {word: words.count(word) for word in sorted(set(words))}


def total(counts: list[dict[str, int]]) -> dict[str, object]:
    """Add up what was counted in each file."""
    found: dict[str, int] = {}
    for each in counts:
        for word, number in each.items():
            found[word] = found.get(word, 0) + number
    return {"files": len(counts), "words": sum(found.values()), "by_word": dict(sorted(found.items()))}
