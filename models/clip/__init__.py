"""What models built on CLIP share: its blocks on open_clip, its tokens, its pixels. No model itself."""
