"""The neutral language between APIs and upstream: what is asked, and what came of it. No I/O."""
