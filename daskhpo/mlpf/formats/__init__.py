"""Files that hold particle-flow events: the public ones and our own."""
