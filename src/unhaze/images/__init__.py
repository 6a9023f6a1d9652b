"""Pictures in and out: files, video frames, records of a run."""
