"""From stored results to what people read: tables, growth told honestly, and charts. No PyTorch."""
