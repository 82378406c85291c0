"""Amazon Web Services: clients on trio, error texts, CloudWatch metrics. SQS, S3 and SNS adapters call it."""
