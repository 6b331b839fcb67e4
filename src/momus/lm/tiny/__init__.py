"""momus-tiny, the embedded model: `TINY` is the folder of its weights and tokenizer (see README.md there)."""

from pathlib import Path

TINY = Path(__file__).parent
