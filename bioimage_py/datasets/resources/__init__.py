"""Where items come from: images with what is said of them, as a project, a folder or a list has them."""
