"""Options of XLA's compiler."""

# Most of the tests' time goes into compiling programs that run once, on little. Compiled quickly rather than well, they
# take a fifth of the time; results differ by rounding.
QUICK_FLAGS = "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
