"""Documents: read into their parts, given structured feedback on, and made into data to train on."""
