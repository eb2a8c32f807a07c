"""For those who write the notebooks: run and clean them, draw figures, stamp the address, build the site."""
