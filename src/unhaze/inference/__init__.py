"""Running a dehazing method on real pictures: memory, strips, files, batches and streams."""
