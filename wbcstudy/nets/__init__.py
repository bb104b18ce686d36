"""Encoders, the U-Net, losses and training. Everything here imports Keras when it is used."""
