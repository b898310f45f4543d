from setuptools import find_packages, setup

setup(
    name="fed_vit_safety",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_safety"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_safety"]),
        ("share/fed_vit_safety", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": ["safety_node = fed_vit_safety.node:main"],
        "fedvit.benches": ["shield = fed_vit_safety.bench:shield"],
    },
)
