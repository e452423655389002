"""The results of a benchmark, as `benchmarks.session.run` returns them, with numbers that are easy by hand."""

RESULTS = {
    "machine": {"device": "cpu", "platform": "cpu", "processor": "P", "cores": 2, "python": "3.12", "jax": "0.11"},
    "image_size": [36, 48],
    "train_batch": 4,
    "dtype": "float32",
    "rounds": 3,
    "matmul_flops_per_second": 1e11,
    "models": {
        "segnet": {
            "parameters": 2_500_000,
            "model_bytes": 10_000_000,
            "flops": {"forward": 2e9, "gradient": 6e9},
            "ours": {
                "fast": {
                    "compile_seconds": {"train_step": 21.4},
                    "memory_bytes": {"forward": 30_000_000, "train_step": 90_000_000},
                    "temporary_bytes": {"forward": 20_000_000, "train_step": 70_000_000},
                },
                "leanest": {
                    "compile_seconds": {"train_step": 30.0},
                    "memory_bytes": {"train_forward": 40_000_000, "train_step": 50_000_000},
                    "temporary_bytes": {"train_forward": 30_000_000, "train_step": 30_000_000},
                },
            },
            "seconds": {
                "forward": {"fast": 0.1, "torch": 0.25, "torch channels_last": 0.2},
                "train_forward": {"fast": 0.2, "leanest": 0.2, "torch": 0.3, "torch channels_last": 0.3},
                "gradient": {"fast": 0.5, "leanest": 0.6, "torch": 0.8, "torch channels_last": 1.0},
                "train_step": {"fast": 2.0, "leanest": 2.5, "torch": 4.0, "torch channels_last": 5.0},
            },
            "torch_memory_bytes": {
                "torch": {"forward": 60_000_000, "train_step": 200_000_000},
                "torch channels_last": {"forward": 50_000_000, "train_step": 300_000_000},
            },
        }
    },
    "pooling": {
        "channels": 64,
        "seconds": {"ours": 0.01, "torch": 0.05, "torch channels_last": 0.04},
        "index_bytes": {"ours": 1_000_000, "torch": 8_000_000},
    },
}
