"""From folders of pictures to batches: scan, buckets, captions, caches, order."""
