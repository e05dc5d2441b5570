"""Steps in host memory: in blocks that fit the cache, by several threads."""
