"""The models of the literature, one file each, and what is needed to build, guide, read and recognise them."""
