"""What travels in pieces: chunks of label maps, copies of images, whole projects."""
