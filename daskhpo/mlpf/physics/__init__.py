"""What a physicist asks of particle flow: efficiencies, jets, missing momentum."""
