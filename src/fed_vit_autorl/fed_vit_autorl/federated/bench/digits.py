"""Writes scikit-learn's 1,797 handwritten digits (8 × 8) to a file. Runs in the peers' venv."""

import json
import sys

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
np.savez(sys.argv[1], inputs=(digits.data / 16).astype(np.float32), labels=digits.target)
print(json.dumps({"samples": len(digits.target)}))
