"""The way in from the scripts: their databases, their settings and their staged trees become projects here.

"Legacy" is what the scripts wrote, in three generations. A database of an older release of this daemon is none of
it.
"""
