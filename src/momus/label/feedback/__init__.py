"""Feedback on documents in the workbench: drafts of `momus feedback`, edited, approved or returned.

The record is that of `momus.documents`, before and after: nothing of it is kept twice.

kind.py        what an item holds, and what a teacher gives back
page.py        the task as it is shown; feedback to print
drafts.py      drafts of a folder become items
deciding.py    judgements become decisions on the drafts, in an export and beside the documents
"""
