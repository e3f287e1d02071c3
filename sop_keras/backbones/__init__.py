"""The networks: the paper's, small ones for CPUs, those of Keras and KerasHub."""
