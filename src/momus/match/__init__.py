"""Do two comments make the same point? Extraction, matching and calibration, for bugs in critiques and for reviews."""
