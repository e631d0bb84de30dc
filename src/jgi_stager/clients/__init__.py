"""One client per outside service. What they raise is in `jgi_stager.failures`; nothing else leaves them.

No client knows the store. Everything that arrives is validated here, at the edge.
"""
