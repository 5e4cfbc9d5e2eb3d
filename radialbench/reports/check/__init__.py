"""Whether results are worse than a baseline's: a verdict for every case and metric."""
