"""Reads a topic as docs/format.md tells anybody to, with nothing of the product but
the compiled proto: one JSON object a record on stdout.

usage: read.py BROKERS TOPIC DESCRIPTORS
"""

import json
import sys

from confluent_kafka import Consumer, TopicPartition
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

brokers, topic, descriptors = sys.argv[1:]

pool = descriptor_pool.DescriptorPool()
files = descriptor_pb2.FileDescriptorSet.FromString(open(descriptors, "rb").read())
for file in files.file:
    pool.Add(file)
Record = message_factory.GetMessageClass(pool.FindMessageTypeByName("umbra.v1.Record"))

consumer = Consumer(
    {"bootstrap.servers": brokers, "group.id": "none", "enable.auto.commit": False}
)
partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
ends = {}
for number in partitions:
    low, high = consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=30)
    if high > low:
        ends[number] = high
consumer.assign([TopicPartition(topic, number, 0) for number in ends])

while ends:
    message = consumer.poll(30)
    if message is None:
        sys.exit("no record within 30 s")
    if message.error():
        sys.exit(str(message.error()))
    record = Record.FromString(message.value())
    kind, time = message.timestamp()
    print(
        json.dumps(
            {
                "partition": message.partition(),
                "offset": message.offset(),
                "timestamp_kind": kind,  # 1: CreateTime
                "timestamp": time,
                "key": (message.key() or b"").hex(),
                "headers": {name: value.hex() for name, value in message.headers() or []},
                "record": json_format.MessageToDict(
                    record, preserving_proto_field_name=True, use_integers_for_enums=True
                ),
            }
        )
    )
    if message.offset() + 1 >= ends[message.partition()]:
        del ends[message.partition()]
consumer.close()
