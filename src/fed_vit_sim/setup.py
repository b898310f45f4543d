from setuptools import find_packages, setup

setup(
    name="fed_vit_sim",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_sim", "fed_vit_sim.*"]),
    package_data={"": ["*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_sim"]),
        ("share/fed_vit_sim", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "adapter_node = fed_vit_sim.adapter_node:main",
            "replay_node = fed_vit_sim.replay_node:main",
            "world_node = fed_vit_sim.world_node:main",
        ]
    },
)
