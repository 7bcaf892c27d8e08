# The operator's image. The build installs the dependencies before our own code, so that a change of code is quick;
# what runs has neither a package manager nor the sources.
#   docker build -t finetune-operator .
# The base is an argument so that it can be pinned by digest or taken from a mirror; it has to bring python3 (3.11
# to 3.13) with the venv module.
ARG BASE=docker.io/library/python:3.12-slim-bookworm

FROM ${BASE} AS build
ARG UV_VERSION=0.13.8
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=/opt/finetune
WORKDIR /source
RUN python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir uv==${UV_VERSION}
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --python "$(command -v python3)" --frozen --no-dev --extra operator --no-install-project
COPY README.md LICENSE ./
COPY operator operator
COPY trainer_image trainer_image
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv sync --python "$(command -v python3)" --frozen --no-dev --extra operator --no-editable

FROM ${BASE}
COPY --from=build /opt/finetune /opt/finetune
# Numeric, so that runAsNonRoot can be checked. Nothing is written to the root file system.
USER 65532:65532
WORKDIR /tmp
ENV PATH=/opt/finetune/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["finetune-operator"]
