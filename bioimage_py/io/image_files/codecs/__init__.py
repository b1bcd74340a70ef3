"""Pictures that are one stream of a codec: JPEG 2000, JPEG XL."""
