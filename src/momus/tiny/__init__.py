"""The recipe that makes momus-tiny: its corpus, examples, losses and training; its weights lie in `momus.lm.tiny`."""
