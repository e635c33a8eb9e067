"""From collisions to detector elements: Pythia, a parametric detector, and its validation."""
