"""Amazon Web Services: clients on trio, errors with their remedy, metrics."""
