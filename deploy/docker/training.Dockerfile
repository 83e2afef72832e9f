# The training service. Built from the repository's root: docker build -f deploy/docker/training.Dockerfile -t visionyard-training .
# The torch base stage, the same to the letter in training.Dockerfile and export.Dockerfile (a test compares them), so that it is built and stored once.
FROM python:3.11-slim-bookworm AS torch
COPY constraints.txt /tmp/constraints.txt
RUN python -m venv /opt/visionyard \
 && /opt/visionyard/bin/pip install --no-cache-dir -c /tmp/constraints.txt torch torchvision ultralytics-opencv-headless

FROM torch AS build
# training,ray for trainings on several machines: the service's image and the cluster's are then one.
ARG EXTRAS=training
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# What it needs first, with an empty package in the place of ours: this layer stays as it is while the code changes. Into a folder of its own, so that
# the final stage takes the torch layer as it is and adds only what is new.
RUN mkdir -p services/visionyard && touch services/visionyard/__init__.py \
 && /opt/visionyard/bin/pip install --no-cache-dir -c constraints.txt --prefix /opt/added ".[${EXTRAS}]"
COPY services services
RUN /opt/visionyard/bin/pip install --no-cache-dir --no-deps --force-reinstall --prefix /opt/added .

FROM torch
COPY --from=build /opt/added /opt/added
RUN useradd --uid 10001 --user-group --no-create-home visionyard \
 && install -d -o visionyard -g visionyard /var/lib/visionyard
ENV PATH=/opt/added/bin:/opt/visionyard/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/visionyard PYTHONPATH=/opt/added/lib/python3.11/site-packages \
    VISIONYARD_LISTEN=0.0.0.0:50052 VISIONYARD_METRICS_LISTEN=0.0.0.0:9102 VISIONYARD_WORK_DIR=/var/lib/visionyard VISIONYARD_STOP_WORKERS=true
USER 10001:10001
EXPOSE 50052 9102
ENTRYPOINT ["python", "-m", "visionyard.training"]
