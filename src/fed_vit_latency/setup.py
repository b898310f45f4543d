from setuptools import find_packages, setup

setup(
    name="fed_vit_latency",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_latency"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_latency"]),
        ("share/fed_vit_latency", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["latency_node = fed_vit_latency.node:main"]},
)
