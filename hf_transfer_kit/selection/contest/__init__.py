"""What every comparison shares: the engine, its store of finished runs, budget, settings, halving, the verdict."""
