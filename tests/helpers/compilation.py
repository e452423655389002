"""Options of XLA's compiler."""

# Programs that run once on little are compiled quickly rather than well, in a fifth of the time.
QUICK = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
