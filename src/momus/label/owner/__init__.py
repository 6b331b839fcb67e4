"""What owners see and decide.

overview.py    numbers about the work
agreement.py   how far labelers agree
series.py      what the figures show
figures.py     the figures, drawn by momus.report, and their numbers
actions.py     pause and resume it; have a labeler's work done again
adjudication.py, side_by_side.py    items whose judgements disagree are decided
screening.py                       how candidates do by InstructGPT's criteria, who is admitted
hours.py                           hours for pay
restoring.py                       a copy is put in place
routes.py      their pages
"""
