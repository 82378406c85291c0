"""Queues of SQS: ``open_sqs_queue`` opens one, ``check`` says what is wrong with one."""

from reportd.adapters.sqs.queue import SqsQueue, check, name_of, open_queue_client, open_sqs_queue

__all__ = ["SqsQueue", "check", "name_of", "open_queue_client", "open_sqs_queue"]
