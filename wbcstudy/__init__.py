"""Which encoder and which loss should our U-Net use, on our cells, and is the difference real?"""

__version__ = "0.1.0"
