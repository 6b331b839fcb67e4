"""The workbench: people demonstrate, rank, tamper, compare and write critiques in a browser, and nothing is lost.

database.py, schema.py       transactions on sqlite.py or postgresql.py; the tables and their migrations
store.py, rules.py           who gets which item, and what becomes of the work
audit.py, verify.py          the hash-chained log of everything that happened, and its check
people.py                    accounts, invitations, sessions
kinds.py, views.py           what each kind of task holds, shows and takes back
texts.py, texts/             words in English and Korean; strangers' text as harmless HTML
app.py, security.py          pages and a small JSON interface; who may do what
pages.py, templates/         pages in the reader's language; static/ is what runs in the browser
probe.py, running/           models that labelers can ask; code that they can run in a cage
owner/                       numbers, figures, disagreements, screening, hours and copies for the owner
feedback/                    drafts of feedback on documents, edited and decided on
importing.py, exporting.py   records become items, judgements become records
serve.py                     the server
"""
