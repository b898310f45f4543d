"""Blocks and releases in an S3-compatible store: vehicles get presigned URLs and need neither boto3 nor credentials."""

from __future__ import annotations

from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fed_vit_autorl.deployment.delivery_config import S3

VALID_S = 3600


class S3Objects:
    """`<prefix>/updates/<digest>/<block>` and `<prefix>/releases/<version>/<name>`. Raises OSError for its faults."""

    block_bytes = 8 << 20

    def __init__(self, settings: S3) -> None:
        self._bucket, self._prefix = settings.bucket, settings.prefix.strip("/")
        self._client = boto3.client(
            "s3",
            region_name=settings.region,
            endpoint_url=settings.endpoint or None,
            config=Config(signature_version="s3v4", retries={"max_attempts": 3}, connect_timeout=10, read_timeout=30),
        )

    def put_url(self, vehicle: str, digest: str, block: int, size: int) -> str:
        return self._url("put_object", self._block(digest, block), ContentLength=size)

    def arrived(self, digest: str) -> set[int]:
        return {int(key.rsplit("/", 1)[1]) for key in self._keys(f"{self._prefix}/updates/{digest}/")}

    def read(self, digest: str, block: int) -> bytes:
        try:
            found = self._client.get_object(Bucket=self._bucket, Key=self._block(digest, block))
            return found["Body"].read(self.block_bytes + 1)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"S3: {error}") from error

    def remove(self, digest: str) -> None:
        try:
            for key in self._keys(f"{self._prefix}/updates/{digest}/"):
                self._client.delete_object(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"S3: {error}") from error

    def stock(self, version: int, folder: Path) -> None:
        """Puts a release's files where vehicles fetch them; what is there already stays."""
        there = set(self._keys(f"{self._prefix}/releases/{version}/"))
        try:
            for path in sorted(folder.iterdir()):
                key = self._file(version, path.name)
                if key not in there:
                    self._client.upload_file(str(path), self._bucket, key)
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"S3: {error}") from error

    def get_url(self, version: int, name: str) -> str:
        """Where a file of a release can be fetched for a while."""
        return self._url("get_object", self._file(version, name))

    def _url(self, method: str, key: str, **parameters: int) -> str:
        everything = {"Bucket": self._bucket, "Key": key, **parameters}
        return self._client.generate_presigned_url(method, everything, VALID_S)

    def _keys(self, prefix: str) -> list[str]:
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            return [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        except (BotoCoreError, ClientError) as error:
            raise OSError(f"S3: {error}") from error

    def _block(self, digest: str, block: int) -> str:
        return f"{self._prefix}/updates/{digest}/{block}"

    def _file(self, version: int, name: str) -> str:
        return f"{self._prefix}/releases/{version}/{name}"
