"""What a campaign's journal tells people: how it stands, why a trial went as far as it did.

Everything here reads; nothing takes the lock, needs the objective's code or starts a cluster.
Import what you need from its own module.
"""
