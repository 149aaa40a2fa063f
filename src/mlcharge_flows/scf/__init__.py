"""Counting electronic steps, proving where a run started, paired statistics: reads only."""
