"""Everything that runs inside a Dask worker."""
