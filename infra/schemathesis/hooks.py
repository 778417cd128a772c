"""What Schemathesis is told of this interface beyond its document.

Two of its checks are narrowed, not switched off: a status is excused only with the words of the one refusal that the
document cannot say by a schema.
"""

import schemathesis
from schemathesis.specs.openapi.checks import positive_data_acceptance

# The one place of the streaming routes is taken while they are asked: an answer without end cannot be checked.
STREAMS = ("/v1/stream", "/v1/events")
# No schema says that one parameter is before another, that a month has a day, that two parameters come together, or
# that a token is one that was given out.
BEYOND_A_SCHEMA = (
    "from: is after to",
    "cursor: not a cursor of this server",
    "strike_from: is above strike_to",
    "expiry: ",
    "expiry is not *",
    "exchange: is missing: quote and exchange",
    "channel latest has no ",
    "channel candles has no ",
    "channel quotes has no ",
    "channel book has no ",
    "channel options has no ",
    "channel tokens has no ",
    "channel swaps has no ",
    "channel index has no ",
    "from: the window 24h is one row",
    "to: the window 24h is one row",
    "cursor: the window 24h is one row",
)
# A schema counts characters, and a name is measured in bytes.
TOO_MANY_BYTES = ("must be 1 to 128 bytes", "is not * or 1 to 128 bytes")


def reason(response):
    try:
        return str(response.json()["error"])
    except (KeyError, TypeError, ValueError):
        return ""


@schemathesis.check
def no_fault(ctx, response, case):
    """No 5xx but those that were asked for: an answer too old for max_lag_ms, and a stream that has no place."""
    if response.status_code < 500:
        return
    said = reason(response)
    too_old = response.status_code == 503 and said.startswith("max_lag_ms: ") and "max_lag_ms" in (case.query or {})
    full = response.status_code == 503 and case.operation.path in STREAMS and said.startswith("too many streaming clients")
    assert too_old or full, f"{response.status_code}: {said or response.text[:200]}"


@schemathesis.check
def what_is_valid_is_accepted(ctx, response, case):
    """As Schemathesis has it, but for what no schema can say."""
    said = reason(response)
    if response.status_code == 400 and (said.startswith(BEYOND_A_SCHEMA) or said.endswith(TOO_MANY_BYTES)):
        return None
    return positive_data_acceptance(ctx, response, case)
