"""Do two comments say the same? Known bugs against critiques, and points of reviews: extracted, matched, calibrated."""
