"""What stays when every process has gone: the journal, the lock, the curves, the directory.

The journal is the truth; ``curves.zarr`` is derived from it and can always be made anew. Import
what you need from its own module: this package imports nothing by itself, so that a process that
only reads a journal pays for no zarr and no xarray.
"""
