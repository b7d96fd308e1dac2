"""Finds secrets written out in YAML, so that they can be refused without being repeated.

The shapes are those the providers and the usual platforms give their keys; anything else long and random is a secret
only under a key whose name says so.
"""

import math
import re
from collections import Counter
from urllib.parse import urlsplit

HIDDEN = "<hidden>"

# Every repetition that something must follow is bounded: a file made to be slow costs no more than another.

_SHAPES = re.compile(
    r"""(?<![A-Za-z])(?:
        sk-[A-Za-z0-9_-]{16,}                      # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek
      | (?:sk|rk|pk)_(?:live|test)_[A-Za-z0-9]{16,} # Stripe
      | AIza[0-9A-Za-z_-]{20,}                     # Google
      | AQ\.[0-9A-Za-z_-]{30,}                     # Google, newer
      | ya29\.[0-9A-Za-z_-]{20,}                   # Google OAuth
      | gsk_[A-Za-z0-9]{20,}                       # Groq
      | xai-[A-Za-z0-9]{20,}                       # xAI
      | pplx-[A-Za-z0-9]{20,}                      # Perplexity
      | hf_[A-Za-z0-9]{20,}                        # Hugging Face
      | r8_[A-Za-z0-9]{20,}                        # Replicate
      | gh[pousr]_[A-Za-z0-9]{20,}                 # GitHub
      | xox[abprs]-[A-Za-z0-9-]{10,}               # Slack
      | AKIA[0-9A-Z]{16}                           # AWS
      | eyJ[A-Za-z0-9_-]{8,400}\.[A-Za-z0-9_-]{8,} # JSON web token
    )""",
    re.VERBOSE,
)
_CREDENTIALS = re.compile(r"(?i)(?<![A-Za-z])(?:bearer|basic)[ \t]+([A-Za-z0-9._~+/=-]{8,})")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_USERINFO = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]{0,30}://[^\s/?#@:]{0,250}:[^\s/?#@]{1,500}@")
_REFERENCE = re.compile(r"\$\{[^{}]{0,600}\}")
_COMMENT = re.compile(r"(?:^|\s)#(.*)")

_SECRET_NAME = re.compile(r"(?i)(?:key|token|secret|password|passwd)$")
_TOKEN = re.compile(r"[A-Za-z0-9_.~+/=:-]{16,}")
_ALWAYS_SECRET = re.compile(r"(?i)^(?:proxy-)?authorization$|^(?:set-)?cookie$|(?:password|passwd)$")
_SECRET_HEADER = re.compile(r"(?i)auth|key|token|secret|password|cookie|credential|signature|session")


def is_literal_secret(text: str) -> bool:
    """Whether there is something in `text` that looks like a key, a password in a URL or credentials."""
    return hide(text) != text


def hide(text: str) -> str:
    """`text` with everything that looks like a secret replaced."""
    if _PEM.search(text):
        return HIDDEN
    text = _USERINFO.sub(HIDDEN, text)
    text = _SHAPES.sub(lambda match: HIDDEN if _is_random(match.group()) else match.group(), text)
    return _CREDENTIALS.sub(lambda match: HIDDEN if _is_random(match.group(1)) else match.group(), text)


def has_userinfo(text: str) -> bool:
    """Whether `text` holds a URL with `user:password@` in it."""
    return bool(_USERINFO.search(_REFERENCE.sub("X", text)))


def has_username(url: str) -> bool:
    """Whether this URL names a user at all, with or without a password."""
    try:
        return "@" in urlsplit(_REFERENCE.sub("X", url)).netloc
    except ValueError:
        return "@" in url


def is_secret_name(name: str) -> bool:
    """Whether a key called this holds a secret: `*key`, `*token`, `*secret`, `*password`, `authorization`, `cookie`."""
    return bool(_SECRET_NAME.search(name) or _ALWAYS_SECRET.search(name))


def is_secret_header(name: str) -> bool:
    """Whether an HTTP header called this carries credentials."""
    return bool(_SECRET_HEADER.search(name))


def is_secret_under(name: str, text: str) -> bool:
    """Whether `text`, written under the key `name`, is a secret: by its shape, or by its randomness and the name."""
    if is_literal_secret(text):
        return True
    bare = text.strip()
    if not is_secret_name(name) or not bare or _REFERENCE.search(bare):
        return False
    if _ALWAYS_SECRET.search(name):
        return True
    if not _TOKEN.fullmatch(bare) or _entropy(bare) < 3.0:
        return False
    return any(c.isdigit() for c in bare) or (len(bare) >= 32 and bare.isalpha())


def leaking_comment_lines(text: str) -> list[int]:
    """The lines (from 1) whose comment holds something that looks like a secret."""
    if "#" not in text:
        return []
    return [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if (comment := _COMMENT.search(line)) and is_literal_secret(comment.group(1))
    ]


def _is_random(token: str) -> bool:
    """Tells `sk-learn-like-pipelines` and `bearer certificates` from keys: those have digits, or one long run."""
    return any(c.isdigit() for c in token) or any(len(run) >= 16 for run in re.split(r"[^A-Za-z0-9]+", token))


def _entropy(text: str) -> float:
    """Shannon's entropy, in bits a character."""
    counts = Counter(text)
    return -sum(count / len(text) * math.log2(count / len(text)) for count in counts.values())
