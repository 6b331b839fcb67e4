"""How far a comment can be believed: scores of several kinds behind one protocol.

`protocol` says what a score is. `share` counts the samples that make a comment, `judged` asks a model whether it is
right, `reward` asks a reward model. `critic` puts a score behind the dial, `search` makes a reward of one for Force
Sampling Beam Search and best of n; `open` finds one by name.
"""
