"""Readers: a file of one format in, blocks of text in reading order out."""
