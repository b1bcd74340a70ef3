"""Credentials for buckets."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigError
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import AccessError

_FILES = {"AWS_SHARED_CREDENTIALS_FILE": "~/.aws/credentials", "AWS_CONFIG_FILE": "~/.aws/config"}
_DIRECT = {"aws_access_key_id", "role_arn"}
_BY_OTHERS = {"credential_process", "sso_session", "sso_account_id", "sso_start_url"}
"""Settings of a profile that give credentials: by itself, and by what only the chain of the AWS libraries knows."""


def s3_endpoint(options: Mapping[str, Any]) -> str | None:
    """Return the S3 server to use in place of Amazon's: an option, else what the AWS libraries take."""
    found: str | None = options.get("endpoint_url")
    return found or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def aws_credentials(options: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Return tensorstore's JSON for the S3 credentials, and where they come from in words.

    In this order: ``anon``, ``profile``, AWS_ACCESS_KEY_ID, the profile of AWS_PROFILE or "default" in ~/.aws, then the
    chain of the AWS libraries if anything says that there is something to find (a role of the machine), else none.

    Raises
    ------
    AccessError
        The ``profile`` that is named is in no file.
    """
    if options.get("anon"):
        return {"type": "anonymous"}, "none (anon=True)"
    if profile := options.get("profile"):
        if _settings_of(str(profile)) is None:
            raise AccessError(
                f"the profile {profile!r} is in neither of {' and '.join(_files())}",
                remedy=f"aws configure --profile {shlex.quote(str(profile))}; or leave storage_options['profile'] out",
            )
        return _profile(str(profile))
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}, "AWS_ACCESS_KEY_ID of the environment"
    name = os.environ.get("AWS_PROFILE") or "default"
    told = _settings_of(name) or set()
    if told & _DIRECT:
        return _profile(name)
    hints = ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if told & _BY_OTHERS or any(map(os.environ.get, hints)) or _on_ec2():
        return {"type": "default"}, "the AWS credentials of this machine"
    return {"type": "anonymous"}, f"none (no AWS_ACCESS_KEY_ID, and no keys of the profile {name!r} in ~/.aws)"


def _profile(name: str) -> tuple[dict[str, str], str]:
    # the engine finds the files by itself in no place, and tells standard error about one that is missing
    credentials, config = (path if os.path.isfile(path) else os.devnull for path in _files())
    files = {"credentials_file": credentials, "config_file": config}
    return {"type": "profile", "profile": name, **files}, f"profile {name!r} of ~/.aws"


def _files() -> list[str]:
    return [os.environ.get(name) or os.path.expanduser(path) for name, path in _FILES.items()]


def _settings_of(profile: str) -> set[str] | None:
    """Names of what the files of the AWS libraries say of a profile; None where they have none of that name."""
    found: set[str] | None = None
    for path in _files():
        parser = ConfigParser(strict=False, interpolation=None, default_section="", allow_no_value=True)
        with suppress(OSError, ConfigError):
            parser.read_string(Path(path).read_text(errors="replace"))
        for section in parser.sections():
            if section.removeprefix("profile").strip(" \t'\"") == profile:
                found = (found or set()) | set(parser[section])
    return found


def _on_ec2() -> bool:
    try:
        with open("/sys/devices/virtual/dmi/id/sys_vendor", encoding="utf-8") as file:
            return "Amazon" in file.read()
    except OSError:
        return False
