"""S12: how cost grows with work. The agent's part is in s12_agent, the replayer's in s12_replayer."""

from . import s12_agent, s12_replayer

TITLE = "cost as work grows: connections, bodies, partitions, replicas"
GOAL = "flat per request; <= 1 ns/byte beside the kernel's copies"
LEAST = "the same"
PARTS = [s12_agent, s12_replayer]
