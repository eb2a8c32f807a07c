"""What the notebooks share.  Read schedule.py first, then unet.py, samplers.py, train.py."""
