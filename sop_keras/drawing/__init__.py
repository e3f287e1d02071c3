"""Pictures of class matrices: what all of them show, and the drawer in matplotlib."""
