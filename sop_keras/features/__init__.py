"""Features of images: made once by a frozen network, kept, and read again."""
