"""Data: readers, the prepared corpus on disk, batches and the resumable loader."""
