"""Steps in host memory: several threads compute blocks that fit the cache."""
