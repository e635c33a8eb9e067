"""Where trials run: a cluster of this machine, or one that exists already."""
