# The engine as a container: locked dependencies, no compiler, no root, nothing written but two volumes.
#   docker build --tag astra .
#   docker run --read-only --tmpfs /tmp astra --help

FROM python:3.11-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/astra
COPY requirements/ requirements/
RUN /opt/astra/bin/pip install --require-hashes --only-binary :all: -r requirements/runtime.txt
# The tools that make the wheel, by the hashes of the development lock, in an environment that stays behind.
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN python -m venv /opt/build \
    && awk '/^[a-z]/ { keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers)==/ } keep' \
        requirements/dev.txt > /tmp/build.txt \
    && /opt/build/bin/pip install --require-hashes --only-binary :all: -r /tmp/build.txt
COPY pyproject.toml README.md CHANGELOG.md ARCHITECTURE.md ./
COPY engine/ engine/
COPY feeds/ feeds/
COPY strategies/ strategies/
COPY risk/ risk/
RUN /opt/build/bin/python -m hatchling build --target wheel \
    && /opt/astra/bin/pip install --no-deps dist/*.whl \
    && /opt/astra/bin/pip uninstall --yes pip setuptools

FROM python:3.11-slim
ENV PATH=/opt/astra/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    NUMBA_CACHE_DIR=/var/cache/astra
RUN groupadd --gid 10001 astra \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin astra \
    && install -d -o astra -g astra -m 0700 /var/lib/astra /var/lib/astra/runs /var/cache/astra
COPY --from=build /opt/astra /opt/astra
COPY --chmod=0555 deploy/engine/start.sh /opt/astra/start.sh
USER 10001:10001
WORKDIR /var/lib/astra
# Compile every kernel now: a volume that is mounted there for the first time takes this over.
RUN astra init /tmp/demo && astra replay /tmp/demo/astra.toml --out /tmp/demo/run && rm -rf /tmp/demo
VOLUME ["/var/lib/astra", "/var/cache/astra"]
EXPOSE 8787
STOPSIGNAL SIGTERM
# Liveness: what restarts unhealthy containers must not restart an engine that waits for its feed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8787/livez', timeout=4)"]
ENTRYPOINT ["/opt/astra/start.sh"]
CMD ["run", "/etc/astra/astra.toml"]
