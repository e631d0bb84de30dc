"""The page: what `status`, `explain` and the mails say, for people with a browser.

``reader`` reads the database once for all pages; ``views`` makes of it what a page shows, ``plots`` its pictures,
``events`` its last lines; ``render`` writes HTML, ``documents`` JSON. ``publish`` puts copies into a directory.
Nothing here serves: that is `jgi_stager.web.pages`. Nothing here decides: the words are those of
`jgi_stager.reporting`.
"""
