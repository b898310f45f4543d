from setuptools import find_packages, setup

setup(
    name="fed_vit_policy",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_policy"]),
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_policy"]),
        ("share/fed_vit_policy", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={"console_scripts": ["policy_node = fed_vit_policy.node:main"]},
)
