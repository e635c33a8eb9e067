"""Campaigns under a virtual clock: the same study over stored curves."""
