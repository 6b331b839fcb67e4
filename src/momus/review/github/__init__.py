"""Reviews on GitHub, in two steps: a reader without a token writes an artifact, and a poster without code posts it.

The poster takes the artifact for hostile: whoever opened the pull request may have written it. Its form and sizes are
checked, its texts are shown as text, and which pull request and which revision it is about is never taken from it.
"""
