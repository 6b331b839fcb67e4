"""Natural bugs with known truth: wrong answers of a model to problems with tests, each with a repair that passes.

CriticGPT's contractors insert bugs because natural ones come without a description (arXiv 2407.00215, section 3.1).
Where an answer fails its tests and a small change makes it pass, that change says where the bug is and what should
stand there. `problems` reads problems, `answers` asks a model, `repairs` searches for the smallest change, `collect`
does it all and can be stopped at any time; `contamination` asks whether the model has seen the problems.
"""
