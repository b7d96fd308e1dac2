"""Single-model files as written: `configs/llms/NAME.yaml` and `configs/llms/provider/PROVIDER/NAME.yaml`."""

from pydantic import ConfigDict, Field

from echelon_configs.raw.calls import RawThinking
from echelon_configs.raw.fields import (
    Count,
    Delay,
    FunctionCalling,
    Limit,
    Name,
    ProviderName,
    Raw,
    ResponseFormat,
    Seconds,
    Temperature,
    Text,
)
from echelon_configs.raw.limits import RawRateLimiting, ScopeLimits


class RawParameters(Raw):
    """Parameters of each call. Those below are ours; all others go to the provider as they are."""

    model_config = ConfigDict(extra="allow")

    timeout: Seconds | None = Field(default=None, description="seconds one attempt may take")
    max_retries: Limit = Field(default=None, description="further attempts at the same queue; 0 is none")
    temperature: Temperature | None = Field(default=None, description="0 to 2; not written: the provider decides")
    max_tokens: Count | None = Field(default=None, description="tokens an answer may have")
    function_calling: FunctionCalling | None = Field(default=None, description="whether tools may or must be called")
    response_format: ResponseFormat = Field(default=None, description="`text`, `json_object`, or a JSON schema")
    thinking_config: RawThinking | None = Field(default=None, description="thinking before the answer")


class RawRetry(Raw):
    """Retries at this instance."""

    max_retries: Limit = Field(default=None, description="further attempts at the same queue; 0 is none")
    base_delay: Delay | None = Field(default=None, description="seconds before the first retry")
    max_delay: Delay | None = Field(default=None, description="longest delay in seconds")
    exponential_base: float | None = Field(default=None, ge=1, le=10, description="factor from one delay to the next")
    jitter: bool | None = Field(default=None, description="whether delays are spread at random")


class RawTimeouts(Raw):
    """How long parts of a call may take."""

    request_timeout: Seconds | None = Field(default=None, description="seconds for the whole attempt, as `timeout`")
    connect_timeout: Seconds | None = Field(default=None, description="seconds to connect")
    read_timeout: Seconds | None = Field(default=None, description="seconds between two pieces of the answer")
    write_timeout: Seconds | None = Field(default=None, description="seconds to send the request")


class RawSupports(Raw):
    """What the model can do. What is not written is taken to be possible."""

    tools: bool | None = Field(default=None, description="whether it can call tools")
    json_object: bool | None = Field(default=None, description="whether it can be held to answer in JSON")
    json_schema: bool | None = Field(default=None, description="whether it can be held to a JSON schema")
    images: bool | None = Field(default=None, description="whether it can read images")


class RawModel(ScopeLimits):
    """One instance: a model at one endpoint with one key. Its name is the file's."""

    description: Text = Field(default="", description="for people")
    enabled: bool = Field(default=True, description="false leaves the instance out")
    inherits_from: list[Name] | None = Field(
        default=None, description="files whose keys hold here unless written here: a path, or a name; one or a list"
    )
    model_type: ProviderName | None = Field(default=None, description="provider; under `provider/NAME/` it is NAME")
    model_name: Name | None = Field(default=None, description="the provider's own name for the model")
    base_url: Name | None = Field(default=None, description="endpoint; not written: the provider's public one")
    api_key: Text | None = Field(
        default=None, description="`${ENV}` and nothing else; not written: the provider's usual variable; none: no key"
    )
    headers: dict[str, str] | None = Field(default=None, description="sent with each call; secrets only as `${ENV}`")
    parameters: RawParameters | None = Field(default=None, description="parameters of each call")
    retry_config: RawRetry | None = Field(default=None, description="retries at this instance")
    timeout_config: RawTimeouts | None = Field(default=None, description="how long parts of a call may take")
    rate_limiting: RawRateLimiting | None = Field(default=None, description="a rate of requests, beside `rpm_limit`")
    context_window: Count | None = Field(
        default=None, description="tokens that input and output may have together; longer jobs go elsewhere"
    )
    supports: RawSupports | None = Field(default=None, description="what the model can do; other jobs go elsewhere")
    weight: float = Field(default=1, gt=0, le=1000, description="share of the work under the `weighted` rotation")
