"""Extended Hückel populations: what chemistry knows of a crystal before any training."""
