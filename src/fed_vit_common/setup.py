from setuptools import find_packages, setup

setup(
    name="fed_vit_common",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_common"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_common"]),
        ("share/fed_vit_common", ["package.xml"]),
    ],
    zip_safe=False,
)
