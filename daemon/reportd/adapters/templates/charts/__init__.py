"""The filters that draw: a module for each kind, and what they share. ``templates`` makes filters of them.

``bar_and_line`` has the first two, which keep their output. The others are figures of HTML and inline SVG (``figure``)
without a script. They take the same data (``series``) and the same keywords.
"""
