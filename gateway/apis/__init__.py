"""Dialects: bodies in, bytes out. No I/O; neither aiohttp nor Fitten is known here."""
