"""The native reader: every ready socket read in C, plain token events counted there."""
