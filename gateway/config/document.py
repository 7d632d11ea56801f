"""Reads a configuration file of any form: `.ini` as the original program's INI, others as YAML."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gateway.config import decoding
from gateway.config.file import ConfigDocument, read_yaml
from gateway.options import ConfigError


def read_document(
    path: Path, environ: Mapping[str, str], *, without_secrets: bool = False
) -> ConfigDocument:
    """Read a file into plain data, its mistakes so far and its lines.

    without_secrets: whether placeholders take the place of `${credential:NAME}` and
        `${file:PATH}`.
    Raises ConfigError if the file cannot be read or is not text.
    """
    try:
        text = decoding.decode(path.read_bytes(), path.name)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except decoding.NotUtf8 as error:
        raise ConfigError([f"{path}:{error.line}: {error.problem}"]) from None
    if path.suffix == ".ini":
        from gateway.config.ini_file import read_ini

        folder = path.absolute().parent
        return read_ini(text, environ, folder=folder, without_secrets=without_secrets)
    return read_yaml(text, environ, without_secrets=without_secrets)
