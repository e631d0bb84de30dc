"""The fault campaign: whole projects, with the daemon killed at every step and everything else going wrong.

The map:

- ``script`` what happens in one run, as a value: kills, faults, events. A script repeats its run
- ``timeline`` the one clock of a run, shared by the processes
- ``effects`` every call to the outside and every write to the database, counted; SIGKILL at one of them
- ``life`` the daemon's process: the real steps on the real clients, forked from a warm process
- ``staging`` the project of a run and the settings of its daemon; ``neighbours`` a project whose data is bad
- ``people`` what people do to the database past the daemon; ``byhand`` which documents they edit and forge
- ``site`` what one worker has: a mongod, a simulator, a mail server; plays a script
- ``judge`` the invariants, from what the simulator saw, the database, the mailbox and the disk
- ``menu`` the faults there are; ``plan`` which scripts a campaign plays; ``shrink`` the smallest that still fails
- ``report`` the counts as text and JSON
- ``mutations`` broken builds; ``mutants`` is ``make mutants``: scripts that tell them from the whole
- ``workers`` plays scripts in parallel; ``__main__`` is ``make campaign``
"""
