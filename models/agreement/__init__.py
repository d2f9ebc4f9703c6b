"""Labels of other views of an image, and how far the image's own labels agree with them."""
