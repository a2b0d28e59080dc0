"""The Towpath operator: Queue, WorkerPool and QueueDatabase become worker pods and a schema."""
