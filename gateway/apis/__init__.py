"""Holds the dialects: they parse bodies and encode answers, without I/O, aiohttp or Fitten."""
