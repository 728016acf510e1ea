"""PTA-GRPO: train language models to reason by planning first, on a CPU."""
