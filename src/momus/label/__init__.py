"""The workbench: people demonstrate, rank, tamper, compare and write critiques in a browser, and nothing is lost.

database.py, connect.py       transactions, on sqlite.py or postgresql.py
schema.py                    the tables, and how an older database is brought up to date
store.py, rules.py           who gets which item, and what becomes of the work
audit.py, verify.py          the hash-chained log of everything that happened, and its check
people.py                    accounts, invitations, sessions
kinds.py, views.py           what each kind of task holds, shows and takes back
texts.py                     words in English and Korean; strangers' text as harmless HTML
"""
