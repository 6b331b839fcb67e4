"""What owners see and decide.

overview.py    numbers about the work
actions.py     pause and resume it; have a labeler's work done again
routes.py      their pages
"""
