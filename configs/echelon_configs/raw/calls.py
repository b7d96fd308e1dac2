"""How a call is made, as written at echelons, nodes and single models."""

from pydantic import Field

from echelon_configs.raw.fields import Count, FunctionCalling, Limit, Raw, ResponseFormat, Seconds, Temperature


class RawThinking(Raw):
    """Whether the model thinks before it answers, and for how long."""

    enabled: bool = Field(default=True, description="whether the model thinks; on where `thinking_config` is written")
    budget_tokens: Count | None = Field(
        default=None, description="tokens it may think; not written: the provider decides"
    )


class RawCallSettings(Raw):
    """How a call is made; what is not written takes the next wider setting, and at last the default."""

    timeout: Seconds | None = Field(default=None, description="seconds one attempt may take")
    max_retries: Limit = Field(default=None, description="further attempts at the same queue; 0 is none")
    temperature: Temperature | None = Field(default=None, description="0 to 2; not written: the provider decides")
    max_tokens: Count | None = Field(default=None, description="tokens an answer may have")
    function_calling: FunctionCalling | None = Field(default=None, description="whether tools may or must be called")
    response_format: ResponseFormat = Field(default=None, description="`text`, `json_object`, or a JSON schema")
    thinking_config: RawThinking | None = Field(default=None, description="thinking before the answer")
