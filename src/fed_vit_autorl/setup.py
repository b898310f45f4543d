from setuptools import setup

setup(
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_autorl"]),
        ("share/fed_vit_autorl", ["package.xml"]),
    ],
)
