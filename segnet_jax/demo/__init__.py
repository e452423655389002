"""A page that shows what a network makes of pictures: `python -m segnet_jax.demo`."""
