"""Say what is on a picture.

python vgg_vs_resnet/predict.py photo.jpg another.png
python vgg_vs_resnet/predict.py holiday_pictures/ --model vgg16c --json
find . -name "*.jpg" | python vgg_vs_resnet/predict.py -
"""

import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from common import recognition
from common.config import cli
from common.recognition import Config

from vgg_vs_resnet import recogniser

load = partial(recogniser.load, "vgg_vs_resnet", recogniser.make_model)
predict = partial(recognition.predict, load)  # settings -> the predictions one by one
main = partial(recognition.main, load)

if __name__ == "__main__":
    cli(Config, main)
