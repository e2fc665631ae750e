"""Sides that alternate in one run, and what is read from their samples."""

import dataclasses
import statistics


@dataclasses.dataclass
class Spread:
    """The median of some values, with the lowest and the highest. `pooled` stands for the median
    where it is known better than from the values of the rounds."""

    values: list
    pooled: float = None

    @property
    def median(self):
        return statistics.median(self.values) if self.pooled is None else self.pooled

    @property
    def low(self):
        return min(self.values)

    @property
    def high(self):
        return max(self.values)


@dataclasses.dataclass
class Row:
    """A line of the table. With a goal it is judged by its median."""

    what: str
    spread: object
    goal: float = None
    least: float = None
    more: bool = False
    unit: str = "x"
    note: str = ""
    samples: object = None

    def __post_init__(self):
        if not isinstance(self.spread, Spread):
            self.spread = Spread(list(self.spread) if isinstance(self.spread, (list, tuple)) else [self.spread])
        if self.least is None:
            self.least = self.goal

    @property
    def verdict(self):
        if self.goal is None:
            return "-"
        reaches = (lambda bound: self.spread.median >= bound) if self.more else (lambda bound: self.spread.median <= bound)
        if reaches(self.goal):
            return "met"
        return "least" if reaches(self.least) else "SHORT"

    def to_json(self):
        return {
            "what": self.what, "median": self.spread.median, "low": self.spread.low, "high": self.spread.high,
            "values": self.spread.values, "unit": self.unit, "goal": self.goal, "least": self.least,
            "better": "more" if self.more else "less", "verdict": self.verdict, "note": self.note,
            "samples": self.samples,
        }


def alternate(bench, sides, seconds=None, rounds=None, warm_up=True):
    """Runs the sides in turns (A B, B A, A B…) and returns {side: [sample…]}.

    The order is turned round each time, so that what drifts during the run touches all
    sides alike. The first round only warms up and is not kept."""
    seconds = seconds or bench.seconds
    rounds = rounds or bench.rounds
    if warm_up:
        for side in sides.values():
            side(min(seconds, 1.5))
    samples = {name: [] for name in sides}
    for number in range(rounds):
        order = list(sides) if number % 2 == 0 else list(sides)[::-1]
        for name in order:
            samples[name].append(sides[name](seconds))
        last = "  ".join(f"{name} {_brief(samples[name][-1])}" for name in sides)
        bench.say(f"round {number + 1}/{rounds}: {last}")
    return samples


def _brief(sample):
    parts = []
    if "per_second" in sample:
        parts.append(f"{sample['per_second']:.0f}/s")
    if "us" in sample:
        parts.append(f"{sample['us']:.2f}us")
    if "p50_ms" in sample:
        parts.append(f"p50 {sample['p50_ms']:.3f}ms")
    if not parts:
        parts = [f"{key} {value:.4g}" for key, value in sample.items() if isinstance(value, (int, float))][:3]
    return " ".join(parts)


def spread(samples, side, key):
    return Spread([sample[key] for sample in samples[side]])


def ratio(samples, side, other, key):
    """`side` over `other`, round by round."""
    return Spread([a[key] / b[key] for a, b in zip(samples[side], samples[other])])


def difference(samples, side, other, key):
    """`side` minus `other`, round by round."""
    return Spread([a[key] - b[key] for a, b in zip(samples[side], samples[other])])
