"""The local engine: any causal language model of Hugging Face transformers, in this process."""
