"""From stored results to what people read: tables, growth, charts, checks. Without PyTorch."""
