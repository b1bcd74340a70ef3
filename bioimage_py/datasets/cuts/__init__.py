"""Parts of volumes and video as items of their own: planes, frames, patches."""
