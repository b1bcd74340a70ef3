"""Credentials for buckets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any


def s3_endpoint(options: Mapping[str, Any]) -> str | None:
    """Return the S3 server to use in place of Amazon's: an option, else what the AWS libraries take."""
    found: str | None = options.get("endpoint_url")
    return found or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or None


def aws_credentials(options: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    """Return tensorstore's JSON for the S3 credentials, and where they come from in words.

    In this order: ``anon``, ``profile``, AWS_ACCESS_KEY_ID, then the chain of the AWS libraries if anything says that
    there is something to find (files, AWS_PROFILE, a role of the machine), else none.
    """
    if options.get("anon"):
        return {"type": "anonymous"}, "none (anon=True)"
    if profile := options.get("profile"):
        return {"type": "profile", "profile": str(profile)}, f"profile {profile!r} of ~/.aws"
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return {"type": "environment"}, "AWS_ACCESS_KEY_ID of the environment"
    files = [
        os.environ.get("AWS_SHARED_CREDENTIALS_FILE", os.path.expanduser("~/.aws/credentials")),
        os.environ.get("AWS_CONFIG_FILE", os.path.expanduser("~/.aws/config")),
    ]
    hints = ("AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
    if any(map(os.path.exists, files)) or any(map(os.environ.get, hints)) or _on_ec2():
        profile = os.environ.get("AWS_PROFILE")
        return {"type": "default"}, f"profile {profile!r}" if profile else "the AWS credentials of this machine"
    return {"type": "anonymous"}, "none (no AWS_ACCESS_KEY_ID, no ~/.aws)"


def _on_ec2() -> bool:
    try:
        with open("/sys/devices/virtual/dmi/id/sys_vendor", encoding="utf-8") as file:
            return "Amazon" in file.read()
    except OSError:
        return False
