"""What every comparison shares: budget, settings of a run, halving, intervals, the verdict, progress."""
