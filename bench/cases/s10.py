"""S10: memory. The agent's part is in s10_agent, the replayer's in s10_replayer."""

from . import s10_agent, s10_replayer

TITLE = "memory: 64 busy connections; 10,000 idle ones; 60 s without Kafka at 2,000 req/s; replayer at full rate"
GOAL = "<= 40 MB; <= 8 KB each; <= budget + 40 MB; <= 100 MB"
LEAST = "the same"
PARTS = [s10_agent, s10_replayer]
