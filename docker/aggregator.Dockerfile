# syntax=docker/dockerfile:1
# The aggregator of one region; no ROS in it.
#   docker build -f docker/aggregator.Dockerfile -t fedvit-aggregator .
FROM python:3.12-slim AS build
RUN python -m venv /opt/fedvit/venv
WORKDIR /build
COPY requirements requirements
COPY src/fed_vit_autorl src/fed_vit_autorl
COPY src/fed_vit_aggregator src/fed_vit_aggregator
RUN /opt/fedvit/venv/bin/pip install --no-cache-dir -c requirements/constraints.txt "./src/fed_vit_autorl[cloud]" ./src/fed_vit_aggregator

FROM python:3.12-slim
RUN groupadd --gid 10001 fedvit && useradd --uid 10001 --gid fedvit --no-create-home fedvit \
 && install -d -o fedvit -g fedvit /var/lib/fedvit/state /var/lib/fedvit/broker
COPY --from=build /opt/fedvit/venv /opt/fedvit/venv
COPY config/fleet.yaml /opt/fedvit/config/fleet.yaml
COPY releases /opt/fedvit/releases
COPY docker/aggregator.yaml /opt/fedvit/config/aggregator.yaml
COPY docker/prepare_broker.py docker/healthy.py /opt/fedvit/
ENV PATH=/opt/fedvit/venv/bin:$PATH PYTHONUNBUFFERED=1
USER fedvit
WORKDIR /opt/fedvit
VOLUME ["/var/lib/fedvit/state", "/var/lib/fedvit/broker"]
EXPOSE 8843 8844
CMD ["python", "-m", "fed_vit_aggregator", "config/aggregator.yaml"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "healthy.py"]
