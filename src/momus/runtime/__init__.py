"""How long work runs: run directories, checkpoints, processes, sharding, adapters, monitors, sinks, costs."""
