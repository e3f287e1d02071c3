"""Images in files: decoded, cut, or reported as bad."""
