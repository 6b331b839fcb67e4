"""Bugs in: source-preserving mutations of Python, each with what a reviewer would say about it.

`insert.tamper` puts bugs into a task's answer, `insert.tamper_file` into any file. Below them: `sites.find_edits`
lists every edit a text allows, `apply.choose_edits` samples them, `apply.apply_edits` makes them and
`apply.valid` refuses what is trivially visible. A new kind of bug is a function in `mutations/`.
"""
