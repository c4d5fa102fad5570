"""Programs that run on the hosts, and what they share: standard library of Python 3.9 and later only.

Each program is a module with a function `main` that reads sys.argv. All are installed as one archive and called as
`onhost.pyz NAME ARGUMENTS`; some are sent to hosts on which nothing is installed yet (see roles/programs.py). They
import nothing of ours but one another, and all of it at the top: an update may remove the archive while one runs.
"""
