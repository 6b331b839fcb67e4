"""Figures and the HTML report that opens offline."""
