"""Queues on SQS. ``open_sqs_queue`` opens one, ``check`` finds faults of one. ``app`` and ``cli`` call them."""

from reportd.adapters.sqs.queue import SqsQueue, check, open_queue_client, open_sqs_queue, queue_name

__all__ = ["SqsQueue", "check", "open_queue_client", "open_sqs_queue", "queue_name"]
