"""How good instruction models are: preferences, labelers, public tasks, the alignment tax."""
