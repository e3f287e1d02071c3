"""Files that are whole or not there, TensorBoard's among them."""
