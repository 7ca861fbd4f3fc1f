"""Near duplicates of 100,000 rows: seconds on this machine's cores, recall and precision on planted pairs among near misses.

The planted similarity is counted here, with sets of plain tuples, not by the code under test.
"""

from __future__ import annotations

import random
import resource
import time

ROWS, PLANTED, SECONDS = 100_000, 1_000, 60


def jaccard(first: str, second: str) -> float:
    sets = [{tuple(parts[i:i + 3]) for i in range(len(parts) - 2)} for parts in (first.split(), second.split())]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def corpus(seed: int = 0):
    """Rows of 60-120 words in Zipf's distribution over 30,000, and in them pairs at Jaccard 0.8 and pairs at 0.5: (texts, near, misses)."""
    import numpy as np

    generator, chance = np.random.default_rng(seed), random.Random(seed)
    frequency = 1 / np.arange(1, 30_001)
    lengths = generator.integers(60, 121, ROWS)
    drawn = generator.choice(30_000, size=int(lengths.sum()), p=frequency / frequency.sum())
    names = np.array([f"w{i}" for i in range(30_000)], dtype=object)
    texts = [" ".join(names[part]) for part in np.split(drawn, np.cumsum(lengths)[:-1])]

    def changed(text: str, target: float) -> str:
        """Words replaced one at a time until the similarity is as near to the target as it gets."""
        parts, best = text.split(), text
        for place in chance.sample(range(len(parts)), len(parts)):
            parts[place] = f"x{chance.randrange(10 ** 9)}"
            now = " ".join(parts)
            reached = jaccard(text, now)
            if abs(reached - target) < abs(jaccard(text, best) - target):
                best = now
            if reached <= target:
                return best
        return best

    places = chance.sample(range(ROWS), 4 * PLANTED)
    pairs: dict[float, list[tuple[int, int]]] = {0.8: [], 0.5: []}
    for index in range(2 * PLANTED):
        target, (one, other) = (0.8, 0.5)[index % 2], places[2 * index:2 * index + 2]
        texts[other] = changed(texts[one], target)
        pairs[target].append((min(one, other), max(one, other)))
    return texts, pairs[0.8], pairs[0.5]


def test_near_duplicates_of_a_hundred_thousand_rows(report):
    from workbench.data import duplicates

    texts, near, misses = corpus()
    near_at, miss_at = ([jaccard(texts[a], texts[b]) for a, b in pairs] for pairs in (near, misses))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begun, used = time.perf_counter(), time.process_time()
    found = duplicates.near_pairs(texts)
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    got = set(zip(found["first"], found["second"]))
    recall = sum(pair in got for pair in near) / len(near)
    precision = sum(pair in got for pair in near) / len(got)
    report(rows=len(texts), seconds=seconds, processor_s=processor, recall=recall, precision=precision, pairs=len(got),
           false_near_misses=sum(pair in got for pair in misses), planted_mean=sum(near_at) / PLANTED, misses_mean=sum(miss_at) / PLANTED,
           above_start_mib=(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
    assert abs(sum(near_at) / PLANTED - 0.8) < 0.01 and abs(sum(miss_at) / PLANTED - 0.5) < 0.01
    assert seconds <= SECONDS
    assert recall >= 0.95 and precision >= 0.95
