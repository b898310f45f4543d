from glob import glob

from setuptools import find_packages, setup

setup(
    name="fed_vit_bringup",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_bringup", "fed_vit_bringup.*"]),
    package_data={"fed_vit_bringup.demo": ["*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_bringup"]),
        ("share/fed_vit_bringup", ["package.xml"]),
        # Folders at the repository's root, where users edit and launch.
        ("share/fed_vit_bringup/config", glob("../../config/*.*")),
        ("share/fed_vit_bringup/launch", glob("../../launch/*.launch.py")),
        ("share/fed_vit_bringup/releases/base", glob("../../releases/base/*")),
        ("share/fed_vit_bringup/releases/noon_pruned", glob("../../releases/noon_pruned/*")),
        ("share/fed_vit_bringup/releases/keys", glob("../../releases/keys/*")),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "observer = fed_vit_bringup.demo.observer:main",
            "relay_node = fed_vit_bringup.relay_node:main",
        ],
        "fedvit.commands": [
            "demo = fed_vit_bringup.demo.command:demo",
            "up = fed_vit_bringup.commands:up",
            "replay = fed_vit_bringup.commands:replay",
        ],
        "fedvit.benches": ["graph = fed_vit_bringup.bench_graph:bench_graph"],
    },
)
