# One image for the operator (`python -m towpath_operator`) and for workers (`towpath worker run`).
# An application's image is FROM it and adds its own code, as examples/shop/Dockerfile does.
ARG PYTHON_IMAGE=docker.io/library/python:3.12-slim

# What changes seldom comes first, in stages and layers of its own: the dependencies are by far the
# larger part, and a change of the sources leaves their layer as it is.
FROM ${PYTHON_IMAGE} AS dependencies
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
RUN python3 -m venv /opt/towpath
COPY pyproject.toml ./
RUN python3 -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = project['optional-dependencies']; print(*project['dependencies'], *extras['operator'], *extras['metrics'], sep='\n')" > requirements.txt \
    && /opt/towpath/bin/pip install --requirement requirements.txt

FROM dependencies AS package
COPY README.md LICENSE ./
COPY runtime runtime
COPY operator operator
RUN /opt/towpath/bin/pip wheel --no-deps --wheel-dir wheels . \
    && /opt/towpath/bin/pip install --no-deps --prefix /package wheels/towpath-*.whl

FROM ${PYTHON_IMAGE}
RUN groupadd --gid 65532 towpath \
    && useradd --uid 65532 --gid 65532 --home-dir /app --no-create-home --shell /usr/sbin/nologin towpath \
    && mkdir /app
COPY --from=dependencies /opt/towpath /opt/towpath
COPY --from=package /package /opt/towpath
# The root file system may be read-only, and the log is a pipe.
ENV PATH=/opt/towpath/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /app
# Numeric, so that the kubelet can prove runAsNonRoot.
USER 65532:65532
CMD ["towpath"]
