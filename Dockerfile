# The gate in a container: docker build --tag quantbench . && docker run --rm --volume "$PWD:/repository" quantbench run
FROM python:3.11-slim

# git tells the commit that was measured, and the baselines of the merge base. Its version decides no result.
# hadolint ignore=DL3008
RUN apt-get update \
  && apt-get install --yes --no-install-recommends git \
  && rm -rf /var/lib/apt/lists/* \
  && git config --system --add safe.directory /repository

COPY . /opt/quantbench
RUN pip install --no-cache-dir --constraint /opt/quantbench/.ci/constraints/py3.11.txt "/opt/quantbench[notify]"

# Results are written to the mounted repository: run with `--user "$(id -u):$(id -g)"` where that is not user 1000.
RUN useradd --uid 1000 --create-home gate && mkdir /cache && chmod 1777 /cache
USER 1000
ENV QUANTBENCH_CACHE=/cache
VOLUME /cache
WORKDIR /repository
ENTRYPOINT ["quantbench"]
CMD ["run"]
