"""Queues on SQS. ``open_sqs_queue`` opens one, ``check`` finds faults of one. ``app`` and ``cli`` call them."""

from reportd.adapters.sqs.queue import SqsQueue, check, name_of, open_queue_client, open_sqs_queue

__all__ = ["SqsQueue", "check", "name_of", "open_queue_client", "open_sqs_queue"]
