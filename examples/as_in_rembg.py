"""One call on any kind of picture, as in rembg; a dehazer to keep where there are many."""

import sys

from PIL import Image

import unhaze

picture = Image.open(sys.argv[1])
unhaze.dehaze(picture).save(sys.argv[2])

with unhaze.Dehazer(strength=0.8) as dehazer:  # what rembg calls a session
    result = dehazer(picture)
print(result.image.size, result.info["haze"]["density"])
