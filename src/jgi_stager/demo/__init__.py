"""The demo: the real daemon against a simulated outside, from one inserted record to files that are checked.

The map of the package:

- ``place`` the directory of a run, and who may use it
- ``children`` the three processes, which end with the demo (``sink`` takes the mails)
- ``configuration`` the settings file of the daemon
- ``watch`` what can be seen of a run; ``screen`` shows it
- ``check`` looks at every file afterwards, without asking the daemon; ``summary`` judges and tells
- ``run`` the order of it all

The demo stands outside: it inserts its project with plain pymongo, as anybody may, and believes the simulator
rather than the daemon wherever both know something.
"""
