"""What JavaScript does otherwise than Python, for the servers whose originals are written in it."""

from __future__ import annotations

BLANKS = (
    "\t\n\v\f\r \xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
"""What ``trim`` takes away (ECMA-262, WhiteSpace and LineTerminator).

``str.strip`` takes U+001C to U+001F and U+0085, too, but leaves a byte-order mark.
"""
