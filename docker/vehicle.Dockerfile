# syntax=docker/dockerfile:1
# A vehicle's nodes on ROS 2 Jazzy, for a PC or a Jetson (the base image has amd64 and arm64).
#   docker build -f docker/vehicle.Dockerfile -t fedvit-vehicle .
# Jetson with its GPU: --build-arg BASE=<an L4T image with ROS 2 Jazzy> --build-arg WHEELS=<index of its torch wheels>
ARG BASE=ros:jazzy-ros-base

FROM ${BASE} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
ARG WHEELS=""
# Kernels are compiled here, for every processor of the architecture.
ENV NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=""
WORKDIR /opt/fedvit
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential python3-colcon-common-extensions python3-rosdep python3-venv \
 && rm -rf /var/lib/apt/lists/*
COPY requirements requirements
# The distribution's rclpy comes from /opt/ros; everything else in here is pinned.
RUN python3 -m venv --system-site-packages venv \
 && venv/bin/pip install --no-cache-dir ${WHEELS:+--extra-index-url "${WHEELS}"} -c requirements/constraints.txt -r requirements/vehicle.txt
COPY src src
COPY launch launch
COPY config config
COPY releases releases
RUN source /opt/ros/jazzy/setup.bash \
 && source venv/bin/activate \
 && colcon build --merge-install --packages-up-to fed_vit_bringup --cmake-args -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
 && source install/local_setup.bash \
 && python3 -c 'import fed_vit_autorl.safety'

FROM ${BASE}
ENV NUMBA_CPU_NAME=generic NUMBA_CPU_FEATURES=""
RUN groupadd --gid 10001 fedvit && useradd --uid 10001 --gid fedvit --create-home fedvit \
 && install -d -o fedvit -g fedvit /var/lib/fedvit
COPY --from=build /opt/fedvit/venv /opt/fedvit/venv
COPY --from=build /opt/fedvit/install /opt/fedvit/install
# numba reads no folder that it can't write to.
RUN chown -R fedvit:fedvit /opt/fedvit/install/lib/python3*/site-packages/fed_vit_autorl/__pycache__
COPY docker/entrypoint.sh /opt/fedvit/entrypoint.sh
USER fedvit
WORKDIR /var/lib/fedvit
VOLUME /var/lib/fedvit
ENTRYPOINT ["/opt/fedvit/entrypoint.sh"]
# Give the vehicle's own settings with: params_file:=/var/lib/fedvit/vehicle.yaml
CMD ["ros2", "launch", "fed_vit_bringup", "vehicle.launch.py"]
HEALTHCHECK --interval=10s --timeout=8s --start-period=60s --retries=3 \
  CMD ["/opt/fedvit/entrypoint.sh", "bash", "-c", "ros2 lifecycle get ${FEDVIT_NAMESPACE:-/autonomous_vehicle}/safety | grep -q active"]
