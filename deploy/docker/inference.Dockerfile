# The inference service. Built from the repository's root: docker build -f deploy/docker/inference.Dockerfile -t visionyard-inference .
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
# What it needs first, with an empty package in the place of ours: this layer stays as it is while the code changes.
RUN mkdir -p services/visionyard && touch services/visionyard/__init__.py && python -m venv /opt/visionyard \
 && /opt/visionyard/bin/pip install --no-cache-dir -c constraints.txt '.[inference]'
COPY services services
RUN /opt/visionyard/bin/pip install --no-cache-dir --no-deps --force-reinstall .

FROM python:3.11-slim-bookworm
COPY --from=build /opt/visionyard /opt/visionyard
RUN useradd --uid 10001 --user-group --no-create-home visionyard \
 && install -d -o visionyard -g visionyard /var/lib/visionyard /models
ENV PATH=/opt/visionyard/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 HOME=/var/lib/visionyard \
    VISIONYARD_LISTEN=0.0.0.0:50054 VISIONYARD_METRICS_LISTEN=0.0.0.0:9104 VISIONYARD_WORK_DIR=/var/lib/visionyard
USER 10001:10001
EXPOSE 50054 9104
ENTRYPOINT ["python", "-m", "visionyard.inference"]
