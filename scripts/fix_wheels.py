"""The ROS wheels' CMake files name the include folders of the machine they were made on: name this one's."""

import re
import sys
import sysconfig
from pathlib import Path

import numpy

PYTHON_INCLUDE = re.compile(r"/opt/python/[^;\" ]*/include/python3\.\d+")
NUMPY_INCLUDE = re.compile(r"/opt/python/[^;\" ]*/site-packages/numpy/_core/include")

for cmake_file in (Path(sys.argv[1]) / "share").rglob("*.cmake"):
    text = cmake_file.read_text()
    fixed = NUMPY_INCLUDE.sub(numpy.get_include(), PYTHON_INCLUDE.sub(sysconfig.get_path("include"), text))
    if fixed != text:
        cmake_file.unlink()  # a cache may hold the same file under another name
        cmake_file.write_text(fixed)
