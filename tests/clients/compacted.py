"""compacted.py BOOTSTRAP REGISTRY TOPIC: the newest value of each key of a compacted topic, as lines of JSON.

Decimals keep every digit; times are UTC.
"""

import datetime
import decimal
import json
import sys

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

bootstrap, registry, topic = sys.argv[1:]
decode = AvroDeserializer(SchemaRegistryClient({"url": registry}))
# What a transaction has not committed is not there. No group is joined and nothing is committed.
consumer = Consumer({
    "bootstrap.servers": bootstrap, "group.id": "nobody", "enable.auto.commit": False,
    "isolation.level": "read_committed", "enable.partition.eof": True,
})
partitions = consumer.list_topics(topic, timeout=30).topics[topic].partitions
consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])

newest, ended = {}, set()
while len(ended) < len(partitions):
    message = consumer.poll(30)
    if message is None:
        sys.exit(f"{topic} has not ended in 30 seconds")
    if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
        ended.add(message.partition())
    elif message.error():
        raise KafkaException(message.error())
    elif message.value() is None:  # A tombstone: there is no such key any more.
        newest.pop(message.key(), None)
    else:
        newest[message.key()] = message.value()
consumer.close()


def shown(value):
    if isinstance(value, decimal.Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    if isinstance(value, bytes):  # What the processor counts on with; opaque to readers.
        return value.hex()
    raise TypeError(type(value))


for key, value in newest.items():
    print(json.dumps({**decode(key, None), **decode(value, None)}, default=shown))
