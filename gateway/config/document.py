"""Reads a configuration file of any form: `.ini` as the original program's INI, others as YAML."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from pathlib import Path

from gateway.config.file import ConfigDocument, read_yaml
from gateway.options import ConfigError

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_COMMON_CHINESE = ("\u4e00", "\u9fff")  # the first and the last character of the usual block


class _NotUtf8(Exception):
    """Reports that a file is not text in UTF-8.

    line: the first line that is not. problem: what the file is instead, and what to do.
    """

    def __init__(self, problem: str, line: int) -> None:
        super().__init__(problem)
        self.line, self.problem = line, problem


def read_document(
    path: Path, environ: Mapping[str, str], *, without_secrets: bool = False
) -> ConfigDocument:
    """Read a file into plain data, its mistakes so far and its lines.

    without_secrets: whether placeholders take the place of `${credential:NAME}` and
        `${file:PATH}`.
    Raises ConfigError if the file cannot be read or is not text.
    """
    try:
        text = _decode(path.read_bytes(), path.name)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except _NotUtf8 as error:
        raise ConfigError([f"{path}:{error.line}: {error.problem}"]) from None
    if path.suffix == ".ini":
        from gateway.config.ini_file import read_ini

        folder = path.absolute().parent
        return read_ini(text, environ, folder=folder, without_secrets=without_secrets)
    return read_yaml(text, environ, without_secrets=without_secrets)


def _decode(raw: bytes, name: str) -> str:
    """Return the text of a file, without a byte order mark. Raises NotUtf8.

    name: the file's name, for the command that converts the file.
    """
    if raw.startswith(_UTF_16) or _looks_like_utf_16(raw):
        raise _NotUtf8(_says("UTF-16", "UTF-16", name), 1)
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
    if _looks_like_gbk(raw):
        raise _NotUtf8(_says("GBK", "GB18030", name), line)
    raise _NotUtf8(f"is not text in UTF-8; convert it: {_command('LATIN1', name)}", line)


def _says(encoding: str, iconv_name: str, name: str) -> str:
    return f"is text in {encoding}, not in UTF-8; convert it: {_command(iconv_name, name)}"


def _command(encoding: str, name: str) -> str:
    return f"iconv -f {encoding} -t UTF-8 {name} > new-{name}"


def _looks_like_utf_16(raw: bytes) -> bool:
    """Return whether every second byte of the beginning is NUL, as in ASCII text in UTF-16."""
    start = raw[:64]
    return len(start) >= 4 and (not any(start[0::2]) or not any(start[1::2]))


def _looks_like_gbk(raw: bytes) -> bool:
    """Return whether the bytes decode as GBK, and all that is not ASCII is usual Chinese."""
    try:
        text = raw.decode("gb18030")
    except UnicodeDecodeError:
        return False
    first, last = _COMMON_CHINESE
    others = [c for c in text if not c.isascii()]
    return any(first <= c <= last for c in others) and all(
        first <= c <= last or "\u3000" <= c <= "\u303f" or "\uff00" <= c <= "\uffef" for c in others
    )
