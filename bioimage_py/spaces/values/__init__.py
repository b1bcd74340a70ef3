"""What a space is made of: classes, instances, geometry, frames, and what is said of a record."""
