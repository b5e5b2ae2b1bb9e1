"""The settings: typed, from `GATEWARDEN_*` (nested by `__`) over a YAML file (`GATEWARDEN_CONFIG`).

Each setting has a default and a sentence. `docs/settings.md` is generated from these, so a setting
without a description fails a test. No secret has a default.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

MODEL_PATH = Path(__file__).with_name("model.conf")
EXAMPLES_PATH = Path(__file__).with_name("examples")


class SettingsError(Exception):
    """A setting is wrong; the text names each one and what it accepts."""


class JournalMode(StrEnum):
    STRICT = "strict"
    AVAILABLE = "available"


def _listed(value: Any) -> Any:
    """A comma-separated text as a list, so that environment variables need no JSON."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Listed = Annotated[tuple[str, ...], NoDecode]


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KeySettings(_Group):
    sealing: SecretStr | None = Field(
        None,
        description="Sealing key, 32 bytes in base64 or hex; unset uses `<data>/keys/sealing.key`.",
    )
    signing: SecretStr | None = Field(
        None, description="Signing key, Ed25519 as PEM; unset uses `<data>/keys/signing.key`."
    )
    installation: str | None = Field(
        None, description="Id of the installation, for a further host of the same one."
    )


class UpstreamSettings(_Group):
    allow_private: Listed = Field(
        (), description="Networks that may be upstreams although private (comma-separated CIDR)."
    )
    connect_seconds: float = Field(
        10.0, gt=0, description="Deadline for connecting to an upstream."
    )
    answer_seconds: float = Field(
        600.0, gt=0, description="Deadline for the first byte of an upstream's answer."
    )
    idle_seconds: float = Field(
        120.0, gt=0, description="Longest silence between two chunks of an upstream's stream."
    )
    stream_seconds: float = Field(3600.0, gt=0, description="Longest life of one streamed answer.")
    max_answer_bytes: int = Field(
        256 * 1024 * 1024, gt=0, description="Largest answer that is passed on, in bytes."
    )
    secret_env: Listed = Field(
        ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "AZURE_OPENAI_API_KEY", "GEMINI_API_KEY"),
        description="Environment variables that `env:` references may name, beside GATEWARDEN_SECRET_*.",
    )
    secret_folder: Path | None = Field(
        None, description="Folder in which `file:` references resolve; unset refuses them."
    )

    _lists = field_validator("allow_private", "secret_env", mode="before")(_listed)

    @field_validator("allow_private")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            ipaddress.ip_network(item)
        return value


class JournalSettings(_Group):
    mode: JournalMode = Field(
        JournalMode.STRICT,
        description="When the journal cannot take a record: `strict` refuses everything, `available` goes on and counts the gap.",
    )
    segment_bytes: int = Field(
        64 * 1024 * 1024, ge=4096, description="Size of one journal segment."
    )
    checkpoint_records: int = Field(10_000, ge=1, description="Records between two checkpoints.")
    checkpoint_seconds: float = Field(60.0, gt=0, description="Seconds between two checkpoints.")
    copy_to: Path | None = Field(
        None, description="A second folder that receives a copy of each checkpoint."
    )
    copy_url: str = Field(
        "",
        description="A further place for checkpoints: `s3://bucket/prefix`, or the URL of a webhook; empty for none.",
    )
    copy_endpoint: str = Field(
        "", description="URL of S3-compatible storage; empty means AWS in `COPY_REGION`."
    )
    copy_region: str = Field("us-east-1", description="Region of the bucket.")
    copy_access_key: SecretStr | None = Field(
        None, description="Access key id for the bucket; it needs to put objects, and nothing else."
    )
    copy_secret_key: SecretStr | None = Field(None, description="Its secret.")
    copy_authorization: SecretStr | None = Field(
        None, description="Value of the `Authorization` header for the webhook."
    )
    keep_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which journal segments go once their records can be queried; 0 keeps them for ever.",
    )

    @model_validator(mode="after")
    def _copies(self) -> Self:
        url = self.copy_url
        if url and not re.fullmatch(r"s3://[a-z0-9.-]+(/[A-Za-z0-9._-]+)*/?|https?://\S+", url):
            raise ValueError("copy_url is neither s3://bucket/prefix nor a URL")
        if url.startswith("s3://") and not (self.copy_access_key and self.copy_secret_key):
            raise ValueError(
                "copy_url names a bucket: copy_access_key and copy_secret_key are needed"
            )
        return self


class SiemSettings(_Group):
    sink: Literal["", "stdout", "file", "syslog", "http", "otlp"] = Field(
        "", description="Where decisions and changes are streamed to; empty for nowhere."
    )
    url: str = Field(
        "",
        description="Address: `udp://`, `tcp://` or `tls://host:port` of a syslog server, or a URL for `http` and `otlp`.",
    )
    file: Path | None = Field(None, description="File of JSON lines for `file`.")
    file_bytes: int = Field(
        100 * 1024 * 1024, ge=65_536, description="Size at which the file is rotated."
    )
    file_keep: int = Field(10, ge=0, le=1000, description="Old files that are kept.")
    authorization: SecretStr | None = Field(
        None, description="Value of the `Authorization` header for `http` and `otlp`."
    )
    ca: Path | None = Field(
        None,
        description="Certificate authorities (PEM) to trust for `tls://`; unset trusts the system's.",
    )
    records: Listed = Field(
        ("decision", "change"),
        description="Types of records (comma-separated), such as `decision`, `request`, `refusals`, `change`; or `all`.",
    )
    texts: bool = Field(
        False, description="Also what callers typed or claimed, which the log keeps apart."
    )

    _lists = field_validator("records", mode="before")(_listed)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.sink == "file" and self.file is None:
            raise ValueError("the sink `file` needs a file")
        schemes = {"syslog": "udp|tcp|tls", "http": "https?", "otlp": "https?"}.get(self.sink)
        if schemes is not None and not re.fullmatch(rf"({schemes})://\S+", self.url):
            raise ValueError(f"the sink `{self.sink}` needs a url of its kind")
        return self


class RecordSettings(_Group):
    request_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="Days after which records of requests can no longer be queried; 0 keeps them for ever.",
    )
    decision_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="The same for decisions. The decision log itself follows `JOURNAL__KEEP_DAYS`.",
    )


class PayloadSettings(_Group):
    by_default: bool = Field(
        False,
        description="Keep what is said in requests where neither a logging configuration nor the caller says anything.",
    )
    body_bytes: int = Field(
        64 * 1024,
        ge=1024,
        le=16 * 1024 * 1024,
        description="Bytes of each body that are kept; the rest is cut off.",
    )
    spool_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024 * 1024,
        description="Size that bodies on their way into the record store may have; beyond it they are lost and counted.",
    )
    keep_days: int = Field(
        30,
        ge=1,
        le=36_500,
        description="Days after which what was said is removed; a logging configuration may say fewer.",
    )


class PolicySettings(_Group):
    max_stale: float = Field(
        600.0, ge=0, description="Seconds without a successful poll after which requests get 503."
    )
    poll_seconds: float = Field(
        0.1, gt=0, description="Seconds between two polls of the change log."
    )


class McpSettings(_Group):
    allowed_hosts: Listed = Field(
        (),
        description="Names, without a port, that MCP clients may call this gateway by, besides loopback and `PUBLIC_URL` (`*` for any).",
    )
    allowed_origins: Listed = Field(
        (),
        description="Origins of web pages that may call MCP endpoints, besides loopback and `PUBLIC_URL` (`*` for any).",
    )
    look_seconds: float = Field(
        300.0, gt=0, description="Seconds between two looks at what every MCP server offers."
    )

    _lists = field_validator("allowed_hosts", "allowed_origins", mode="before")(_listed)


class LimitSettings(_Group):
    body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, description="Largest JSON body of a model request."
    )
    multipart_bytes: int = Field(
        128 * 1024 * 1024, ge=1024, description="Largest multipart body (audio, images)."
    )
    body_depth: int = Field(64, ge=4, le=200, description="Deepest nesting of a JSON body.")
    request_seconds: float = Field(
        60.0, gt=0, description="Deadline for receiving a whole request body."
    )
    refusals_per_minute: int = Field(
        600, ge=1, description="Refusals of one principal in a minute before it gets 429."
    )


class Settings(BaseSettings):
    """Everything that can be set from outside."""

    model_config = SettingsConfigDict(
        env_prefix="GATEWARDEN_", env_nested_delimiter="__", extra="ignore", frozen=True
    )

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on.")
    data: Path = Field(Path("var"), description="Folder of the store, the keys and the journal.")
    store: str = Field(
        "",
        repr=False,  # it may hold a password
        description="Store URL, `sqlite:` or `mongodb:`; empty means `sqlite:///<data>/gatewarden.db`.",
    )
    workers: int = Field(1, ge=1, le=64, description="Processes that share the port.")
    loop: Literal["auto", "asyncio", "uvloop"] = Field(
        "auto", description="Event loop; `auto` takes uvloop where it is installed."
    )
    public_url: str = Field("", description="URL under which callers reach this gateway.")
    contact: str = Field(
        "your platform team", description="Whom a refusal tells people to contact."
    )
    trusted_proxies: Listed = Field(
        (), description="Networks whose X-Forwarded-For is believed (comma-separated CIDR)."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level that is logged."
    )
    drain_seconds: float = Field(
        30.0, ge=0, description="Time that open requests get to finish on SIGTERM."
    )
    demo: bool = Field(False, description="Apply the demo estate at start and write `demo.env`.")
    keys: KeySettings = Field(default_factory=KeySettings, description="Keys from outside.")
    upstream: UpstreamSettings = Field(default_factory=UpstreamSettings, description="Upstreams.")
    journal: JournalSettings = Field(default_factory=JournalSettings, description="The journal.")
    siem: SiemSettings = Field(
        default_factory=SiemSettings, description="The stream to a security monitor."
    )
    records: RecordSettings = Field(
        default_factory=RecordSettings, description="What can be queried."
    )
    payloads: PayloadSettings = Field(
        default_factory=PayloadSettings, description="What is said in requests."
    )
    policy: PolicySettings = Field(default_factory=PolicySettings, description="The policy feed.")
    mcp: McpSettings = Field(default_factory=McpSettings, description="MCP endpoints.")
    limits: LimitSettings = Field(default_factory=LimitSettings, description="Limits of a request.")

    _lists = field_validator("trusted_proxies", mode="before")(_listed)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for item in value:
            ipaddress.ip_network(item)
        return value

    @property
    def store_url(self) -> str:
        """The store's URL, with the default filled in."""
        return self.store or f"sqlite:///{self.data.resolve()}/gatewarden.db"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment over arguments: `load` hands the file's values in as arguments."""
        return env_settings, init_settings


def load(config: Path | None = None) -> Settings:
    """The settings of this process; `config` is a YAML file with the same keys.

    Raises:
        SettingsError: the file cannot be read, or a key or value is not accepted.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            loaded = YAML(typ="safe").load(config.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, YAMLError) as exc:
            raise SettingsError(f"cannot read the settings file {config}: {exc}") from exc
        if loaded is not None and not isinstance(loaded, dict):
            raise SettingsError(f"the settings file {config} must hold a mapping")
        values = loaded or {}
        unknown = sorted(set(values) - set(Settings.model_fields))
        if unknown:
            raise SettingsError(f"unknown setting(s) in {config}: {', '.join(unknown)}")
    try:
        return Settings(**values)
    except ValidationError as exc:
        lines = [
            f"{'.'.join(str(part) for part in error['loc'])}: {error['msg']}"
            for error in exc.errors()
        ]
        raise SettingsError("invalid settings: " + "; ".join(lines)) from exc


def describe() -> list[tuple[str, str, str]]:
    """(environment variable, default, sentence) of every setting, for the documentation."""
    found: list[tuple[str, str, str]] = []

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, info in model.model_fields.items():
            inner = info.annotation
            if isinstance(inner, type) and issubclass(inner, _Group):
                walk(inner, f"{prefix}{name.upper()}__")
                continue
            default = info.default
            if isinstance(default, tuple):
                default = ",".join(default)
            found.append((f"{prefix}{name.upper()}", str(default), info.description or ""))

    walk(Settings, "GATEWARDEN_")
    return found


# Variables beside the settings: what the client side, the supervisor and secret references read.
_OTHER_VARIABLES = {"GATEWARDEN_CONFIG", "GATEWARDEN_URL", "GATEWARDEN_TOKEN", "GATEWARDEN_SLOT"}
_OTHER_PREFIXES = ("GATEWARDEN_SECRET_",)


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """`GATEWARDEN_*` variables that are no setting, each with the nearest known name: likely misspelt."""
    known = {name for name, _, _ in describe()} | _OTHER_VARIABLES
    found = []
    for name in sorted(environ):
        if not name.startswith("GATEWARDEN_") or name.upper() in known:
            continue
        if not name.startswith(_OTHER_PREFIXES):
            near = difflib.get_close_matches(name, known, n=1)
            found.append(name + (f" (did you mean {near[0]}?)" if near else ""))
    return found
