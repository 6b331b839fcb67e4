"""Pointers: small networks that choose the line of an answer that a critique should quote."""
