from setuptools import find_packages, setup

EXTRAS = {
    "simulation": [
        "eclipse-sumo==1.28.*",
        "libsumo==1.28.*",
        "mujoco==4.0.*",
        "gymnasium[box2d]>=1.2",
        "matplotlib>=3.10",
        "faster-coco-eval>=1.6",
        "optuna>=4.5",
    ],
    "edge": [
        "torch>=2.8",
        "torchvision>=0.23",
        "timm>=1.0.20",
        "onnx>=1.19",
        "onnxscript>=0.5",
        "onnxruntime>=1.22",
        "opencv-python-headless>=4.11",
        "av>=14",
        "paho-mqtt>=2.1",
        "rosbags>=0.11",
        "torch-pruning>=1.6",
        "python-can>=4.6",
    ],
    "cloud": [
        "onnxruntime>=1.22",
        "paho-mqtt>=2.1",
        "starlette>=0.47",
        "uvicorn>=0.35",
        "httpx>=0.28",
        "prometheus-client>=0.22",
        "faster-coco-eval>=1.6",
        "tuf>=6",
        "opacus>=1.5",
        "dp-accounting>=0.5",
        "boto3>=1.40",
    ],
    "scale": ["ray>=2.60"],
    "flower": ["flwr==1.41.*"],
    "dev": [
        "pytest>=8.4",
        "pytest-timeout>=2.4",
        "hypothesis>=6.140",
        "atheris>=3",
        "ruff>=0.14",
        "ad-rss>=5",
        "stable-baselines3>=2.7",
    ],
}

# A command is a click.Command; a bench is a function of no argument that returns a dict, a study one that takes hours.
COMMANDS = [
    "doctor = fed_vit_autorl.cli.doctor:doctor",
    "bench = fed_vit_autorl.cli.bench:bench",
    "train = fed_vit_autorl.cli.train:train",
    "tune = fed_vit_autorl.models.tune:tune",
    "prune = fed_vit_autorl.models.prune:prune",
    "engine = fed_vit_autorl.edge.engine_build:engine",
    "evaluate = fed_vit_autorl.cli.evaluate:evaluate",
    "federate = fed_vit_autorl.models.federate:federate",
    "fuzz = fed_vit_autorl.fuzzing.command:fuzz",
    "campaign = fed_vit_autorl.safety.campaign.command:campaign",
]
TRAINING = [
    "perception = fed_vit_autorl.models.train_perception:perception",
    "temporal = fed_vit_autorl.models.train_temporal:temporal",
    "policy = fed_vit_autorl.reinforcement.train_policy:policy",
    "fleet-policy = fed_vit_autorl.reinforcement.train_fleet_policy:fleet_policy",
    "cloning = fed_vit_autorl.reinforcement.train_cloning:cloning",
]
EVALUATIONS = [
    "perception = fed_vit_autorl.evaluation.evaluate_perception:perception",
    "labels = fed_vit_autorl.evaluation.evaluate_labels:labels",
    "driving = fed_vit_autorl.reinforcement.evaluate_driving:driving",
    "scenarios = fed_vit_autorl.reinforcement.evaluate_scenarios:scenarios",
    "cloning = fed_vit_autorl.evaluation.evaluate_cloning:cloning",
]
BENCHES = [
    "sim = fed_vit_autorl.simulation.bench:run",
    "vit = fed_vit_autorl.models.bench_vit:bench_vit",
    "aggregate = fed_vit_autorl.federated.bench.aggregate:aggregate",
    "secagg = fed_vit_autorl.federated.bench.secagg:secagg",
    "compress = fed_vit_autorl.federated.bench.compress:compress",
    "byzantine = fed_vit_autorl.federated.bench.byzantine:byzantine",
]
STUDIES = ["lunarlander = fed_vit_autorl.reinforcement.algorithms.bench_lunarlander:bench_lunarlander"]

setup(
    name="fed_vit_autorl",
    version="0.1.0",
    description="Federated vision transformers and reinforcement learning for fleets of vehicles",
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13)],
    packages=find_packages(include=["fed_vit_autorl", "fed_vit_autorl.*"]),
    package_data={"": ["*.html", "*.css", "*.js", "*.j2", "*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", ["resource/fed_vit_autorl"]),
        ("share/fed_vit_autorl", ["package.xml"]),
    ],
    install_requires=[
        "numpy>=2",
        "scipy>=1.15",
        "numba>=0.63",
        "msgspec>=0.19",
        "safetensors>=0.5",
        "cryptography>=46",
        "click>=8.1",
        "rich>=13",
        "pyyaml>=6",
    ],
    extras_require=EXTRAS,
    zip_safe=False,
    entry_points={
        "console_scripts": ["fedvit = fed_vit_autorl.cli.__main__:main"],
        "fedvit.commands": COMMANDS,
        "fedvit.train": TRAINING,
        "fedvit.evaluate": EVALUATIONS,
        "fedvit.benches": BENCHES,
        "fedvit.studies": STUDIES,
    },
)
