"""Operations on whole volumes, and the engine that turns kernels into them."""
