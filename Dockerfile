# One image for the operator (`python -m towpath_operator`) and for workers (`towpath worker run`).
# An application's image is FROM it and adds its own code, as examples/shop/Dockerfile does.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /source
RUN python3 -m venv /opt/towpath
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# The dependencies are a layer of their own: they change less often than the sources.
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = project['optional-dependencies']; print(*project['dependencies'], *extras['operator'], *extras['metrics'], sep='\n')" > requirements.txt \
    && /opt/towpath/bin/pip install --requirement requirements.txt
COPY README.md LICENSE ./
COPY runtime runtime
COPY operator operator
RUN /opt/towpath/bin/pip wheel --no-deps --wheel-dir wheels . \
    && /opt/towpath/bin/pip install --no-deps wheels/towpath-*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 65532 towpath \
    && useradd --uid 65532 --gid 65532 --home-dir /app --no-create-home --shell /usr/sbin/nologin towpath \
    && mkdir /app
COPY --from=build /opt/towpath /opt/towpath
# The root file system may be read-only, and the log is a pipe.
ENV PATH=/opt/towpath/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
# Numeric, so that the kubelet can prove runAsNonRoot.
USER 65532:65532
CMD ["towpath"]
