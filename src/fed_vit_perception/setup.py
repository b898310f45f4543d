from setuptools import find_packages, setup

setup(
    name="fed_vit_perception",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_perception"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_perception"]),
        ("share/fed_vit_perception", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["perception_node = fed_vit_perception.node:main"]},
)
