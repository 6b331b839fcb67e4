"""Any critic behind one protocol: voting, search, the dial, and critiques of whole data sets."""
