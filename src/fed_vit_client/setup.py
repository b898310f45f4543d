from setuptools import find_packages, setup

setup(
    name="fed_vit_client",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_client"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_client"]),
        ("share/fed_vit_client", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["client_node = fed_vit_client.node:main"]},
)
