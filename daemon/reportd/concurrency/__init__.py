"""What trio leaves to its users: supervised loops, caches, batches, retries. It knows nothing about reports."""
