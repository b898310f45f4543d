from setuptools import find_packages, setup

setup(
    name="fed_vit_aggregator",
    version="0.1.0",
    packages=find_packages(include=["fed_vit_aggregator"]),
    package_data={"fed_vit_aggregator": ["page.html"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_aggregator"]),
        ("share/fed_vit_aggregator", ["package.xml"]),
    ],
    zip_safe=False,
    entry_points={
        "console_scripts": ["aggregator = fed_vit_aggregator.__main__:main"],
        "fedvit.commands": [
            "aggregator = fed_vit_aggregator.__main__:main",
            "chaos = fed_vit_aggregator.chaos:chaos",
            "claim = fed_vit_aggregator.enrolment:claim",
            "enrol = fed_vit_aggregator.enrolment:enrol",
            "revoke = fed_vit_aggregator.enrolment:revoke",
            "rotate = fed_vit_aggregator.rotation:rotate",
            "simulate = fed_vit_aggregator.simulate:simulate",
        ],
        "fedvit.benches": [
            "fleet = fed_vit_aggregator.simulate:bench",
            "transport = fed_vit_aggregator.transport_bench:bench",
        ],
    },
)
