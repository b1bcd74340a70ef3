"""The plugin for napari: what napari.yaml names, each in a file; nothing imports napari before it is used."""
